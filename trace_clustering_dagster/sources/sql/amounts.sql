-- Tokens, cost, user and session of the traces whose seeded hash is in the sample's range. Apart from the
-- index, because some stores hold them beside the content.
SELECT
    trace_id,
    sum(input) AS input_tokens,
    sum(output) AS output_tokens,
    -- exact, whatever the order
    toFloat64(sum(toDecimal128(dollars, 12))) AS cost,
    argMinIf(step_user, (started, step_id), step_user != '') AS user,
    argMinIf(step_session, (started, step_id), step_session != '') AS session
FROM (
    SELECT
        trace_id,
        step_id,
        min(assumeNotNull(start_time)) AS started,
        max({{count_of:input_tokens}}) AS input,
        max({{count_of:output_tokens}}) AS output,
        max(if(abs(toFloat64(cost)) < 1e9, toFloat64(cost), NULL)) AS dollars,
        max(leftUTF8(toValidUTF8(ifNull(user, '')), 1000)) AS step_user,
        max(leftUTF8(toValidUTF8(ifNull(session, '')), 1000)) AS step_session
    FROM ({{source}})
    WHERE
        team = {team:String}
        AND cityHash64(trace_id, {seed:UInt64}) <= {hash_cutoff:UInt64}
        AND isValidUTF8(trace_id)
        AND NOT is_score
    GROUP BY trace_id, step_id
)
GROUP BY trace_id
SETTINGS
    -- else a map would be read once for each key that is asked for
    optimize_functions_to_subcolumns = 0,
    max_bytes_before_external_group_by = 1000000000,
    distributed_product_mode = 'global'
