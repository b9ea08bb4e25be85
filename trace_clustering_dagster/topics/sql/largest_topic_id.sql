-- The largest id that a topic of the team had in the windows that ended before.
SELECT max(topic_id)
FROM {output_database:Identifier}.{output_topics_over_time_table:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND window_end < {window_end:DateTime64(3, 'UTC')}
