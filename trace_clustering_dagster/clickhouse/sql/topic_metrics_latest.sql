-- The rows of each day in the newest window that has the day, of the newest run of that window.
-- Earlier windows and runs may have had other topics: their rows would count the same traces again.
SELECT *
FROM {output_database:Identifier}.{output_table:Identifier}
WHERE (team_id, day, window_end, _timestamp) GLOBAL IN (
    SELECT
        team_id,
        day,
        max((window_end, _timestamp)).1,
        max((window_end, _timestamp)).2
    FROM {output_database:Identifier}.{output_table:Identifier}
    WHERE (team_id, window_end, _timestamp) GLOBAL IN (
        SELECT
            team_id,
            window_end,
            max(_timestamp)
        FROM {output_database:Identifier}.{output_table:Identifier}
        GROUP BY team_id, window_end
    )
    GROUP BY team_id, day
)
LIMIT 1 BY team_id, topic_id, day, measure
