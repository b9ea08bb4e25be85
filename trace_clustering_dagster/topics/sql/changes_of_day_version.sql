-- When the newest changes of a team's window were written.
SELECT max(_timestamp)
FROM {output_database:Identifier}.{output_topic_changes_table:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND window_end = {window_end:DateTime64(3, 'UTC')}
