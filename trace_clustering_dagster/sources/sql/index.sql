-- Every trace of the team that ended in [start, end), in the order of its seeded hash. A trace ends
-- with its last step; a step that is stored twice counts once. Reads small columns only. Ids that
-- cannot be a key of anything are left out, with the reason.
SELECT
    multiIf(
        ifNull(trace_id, '') = '', 'trace id is empty',
        NOT isValidUTF8(trace_id), 'trace id is not UTF-8',
        lengthUTF8(trace_id) > 1000, 'trace id has more than 1,000 characters',
        ''
    ) AS reason,
    if(reason = '', trace_id, '') AS id,
    cityHash64(trace_id, {seed:UInt64}) AS hash,
    toUnixTimestamp64Micro(minIf(assumeNotNull(start_time), NOT is_score)) AS started,
    toUnixTimestamp64Micro(
        maxIf(greatest(assumeNotNull(start_time), assumeNotNull(end_time)), NOT is_score)
    ) AS ended,
    uniqExactIf(step_id, NOT is_score) AS steps,
    uniqExactIf(step_id, is_error AND NOT is_score) AS errors,
    countIf(is_score) AS rated
FROM ({{source}})
WHERE team = {team:String}
GROUP BY trace_id
HAVING
    steps > 0
    AND ended >= toUnixTimestamp64Micro({start:DateTime64(6, 'UTC')})
    AND ended < toUnixTimestamp64Micro({end:DateTime64(6, 'UTC')})
ORDER BY hash, trace_id
SETTINGS
    max_bytes_before_external_group_by = 1000000000,
    max_bytes_before_external_sort = 1000000000,
    distributed_product_mode = 'global'
