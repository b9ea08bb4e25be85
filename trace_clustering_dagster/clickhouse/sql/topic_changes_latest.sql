-- The changes of each day, of its newest run: an earlier run may have told others.
SELECT *
FROM {output_database:Identifier}.{output_table:Identifier}
WHERE
    (team_id, window_end, _timestamp) GLOBAL IN (
        SELECT
            team_id,
            window_end,
            max(_timestamp)
        FROM {output_database:Identifier}.{output_table:Identifier}
        GROUP BY team_id, window_end
    )
    -- what a run writes that tells nothing
    AND kind != ''
ORDER BY window_end DESC, topic_id, kind, measure
LIMIT 1 BY team_id, window_end, topic_id, kind, measure
