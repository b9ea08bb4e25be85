-- The newest row of each trace. Of each window only the rows of its newest run: earlier runs may
-- have placed traces that have no vector any more.
SELECT
    team_id,
    trace_id,
    timestamp,
    topic_id,
    theme_id,
    distance,
    runner_up_id,
    runner_up_distance,
    window_end,
    _timestamp
FROM {output_database:Identifier}.{output_table:Identifier}
WHERE
    topic_id >= 0
    AND (team_id, window_end, _timestamp) GLOBAL IN (
        SELECT
            team_id,
            window_end,
            max(_timestamp)
        FROM {output_database:Identifier}.{output_table:Identifier}
        GROUP BY team_id, window_end
    )
ORDER BY window_end DESC
LIMIT 1 BY team_id, trace_id
