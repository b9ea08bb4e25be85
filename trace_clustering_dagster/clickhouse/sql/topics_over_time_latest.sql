-- One row for each topic and day, of the newest run of each day: earlier runs may have had other
-- topics.
SELECT *
FROM {output_database:Identifier}.{output_table:Identifier}
WHERE (team_id, window_end, _timestamp) GLOBAL IN (
    SELECT
        team_id,
        window_end,
        max(_timestamp)
    FROM {output_database:Identifier}.{output_table:Identifier}
    GROUP BY team_id, window_end
)
ORDER BY window_end DESC, topic_id
LIMIT 1 BY team_id, window_end, topic_id
