-- Of a trace with many steps, whose hash is in `long_hashes`, only the first, the last and some that
-- failed. The source is read a second time for it.
AND (
    NOT has({long_hashes:Array(UInt64)}, cityHash64(trace_id, {seed:UInt64}))
    OR (trace_id, step_id) IN (
        SELECT
            trace_id,
            arrayJoin(arrayConcat(first, last, failed)).2 AS step_id
        FROM (
            SELECT
                trace_id,
                groupArraySorted({{half}})((toUnixTimestamp64Micro(assumeNotNull(start_time)), step_id)) AS first,
                groupArraySorted({{half}})((-toUnixTimestamp64Micro(assumeNotNull(start_time)), step_id)) AS last,
                groupArraySortedIf({{half}})((toUnixTimestamp64Micro(assumeNotNull(start_time)), step_id), is_error) AS failed
            FROM ({{source}})
            WHERE
                team = {team:String}
                AND cityHash64(trace_id, {seed:UInt64}) IN {long_hashes:Array(UInt64)}
            GROUP BY trace_id
        )
    )
)
