-- The number of traces of each team that ended in each window, at most `at_most`. Reads small
-- columns only, and each row once, however many windows contain it.
SELECT
    arrayJoin(
        arrayFilter(
            (window, start, end) -> ended >= start AND ended < end,
            range(length({starts:Array(DateTime64(6, 'UTC'))})),
            {starts:Array(DateTime64(6, 'UTC'))},
            {ends:Array(DateTime64(6, 'UTC'))}
        )
    ) AS window,
    name,
    least(count(), {at_most:UInt64}) AS traces
FROM (
    SELECT
        if(isValidUTF8(ifNull(team, '')) AND lengthUTF8(ifNull(team, '')) <= 200, toString(ifNull(team, '')), '') AS name,
        cityHash64(trace_id) AS trace,
        max(greatest(assumeNotNull(start_time), assumeNotNull(end_time))) AS ended
    FROM ({{source}})
    WHERE NOT is_score
    GROUP BY name, trace
)
GROUP BY window, name
ORDER BY window, name
SETTINGS
    max_bytes_before_external_group_by = 1000000000, distributed_product_mode = 'global'
