-- Scores of the traces whose seeded hash is in the sample's range: how many, texts too, and the mean
-- of those that are numbers from 0 to 1. Apart from the amounts: it reads the output of a step.
SELECT
    trace_id,
    count() AS scores,
    -- exact, whatever the order
    toFloat64(sum(toDecimal128(number, 12))) / nullIf(count(number), 0) AS score
FROM (
    SELECT
        trace_id,
        step_id,
        -- a comment may follow
        splitByString(': ', ifNull(max(output), ''))[1] AS given,
        multiIf(given = 'true', 1, given = 'false', 0, toFloat64OrNull(given)) AS raw,
        if(raw >= 0 AND raw <= 1, raw, NULL) AS number
    FROM ({{source}})
    WHERE
        team = {team:String}
        AND cityHash64(trace_id, {seed:UInt64}) <= {hash_cutoff:UInt64}
        AND isValidUTF8(trace_id)
        AND is_score
    GROUP BY trace_id, step_id
)
GROUP BY trace_id
SETTINGS
    -- else a map would be read once for each key that is asked for
    optimize_functions_to_subcolumns = 0,
    distributed_product_mode = 'global'
