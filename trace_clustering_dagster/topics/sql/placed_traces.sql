-- The number of traces that a run has put into each topic.
SELECT
    topic_id,
    count()
FROM {output_database:Identifier}.{output_trace_topics_table:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND window_end = {window_end:DateTime64(3, 'UTC')}
    AND _timestamp = {version:DateTime64(3, 'UTC')}
GROUP BY topic_id
ORDER BY topic_id
