-- The number of traces of the team that ended on each UTC day.
SELECT
    toDate(ended, 'UTC') AS day,
    count() AS traces
FROM (
    SELECT max(greatest(assumeNotNull(start_time), assumeNotNull(end_time))) AS ended
    FROM ({{source}})
    WHERE
        team = {team:String}
        AND NOT is_score
    GROUP BY cityHash64(trace_id)
)
GROUP BY day
ORDER BY day
SETTINGS
    max_bytes_before_external_group_by = 1000000000, distributed_product_mode = 'global'
