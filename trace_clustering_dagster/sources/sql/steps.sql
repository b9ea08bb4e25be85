-- The steps of the traces with these seeded hashes, in the order of their start: the caller
-- compares the ids themselves. Long texts keep their beginning and their end.
SELECT
    trace_id,
    toValidUTF8(leftUTF8(step_id, 1000)) AS step,
    toValidUTF8(leftUTF8(ifNull(parent_id, ''), 1000)) AS parent,
    toUnixTimestamp64Micro(assumeNotNull(start_time)) AS started,
    toUnixTimestamp64Micro(
        greatest(assumeNotNull(start_time), assumeNotNull(end_time))
    ) AS ended,
    toBool(is_error) AS failed,
    toBool(is_score) AS score,
    {{short:name}} AS step_name,
    {{short:entity}} AS step_entity,
    {{short:raw_kind}} AS kind,
    {{cut:input}} AS step_input,
    {{cut:output}} AS step_output,
    {{cut:system}} AS step_system,
    toValidUTF8(leftUTF8(ifNull(error, ''), 2000)) AS step_error,
    {{short:model}} AS step_model,
    {{count_of:input_tokens}} AS tokens_in,
    {{count_of:output_tokens}} AS tokens_out,
    if(abs(toFloat64(cost)) < 1e9, toFloat64(cost), NULL) AS dollars,
    {{short:user}} AS step_user,
    {{short:session}} AS step_session
FROM ({{source}})
WHERE
    team = {team:String}
    AND cityHash64(trace_id, {seed:UInt64}) IN {hashes:Array(UInt64)}
    AND isValidUTF8(trace_id)
    {of_long_traces}
ORDER BY trace_id, started, ended DESC, step
SETTINGS
    -- else a map would be read once for each key that is asked for
    optimize_functions_to_subcolumns = 0,
    -- sort the cut texts, not all content
    query_plan_execute_functions_after_sorting = 0,
    max_bytes_before_external_sort = 1000000000,
    -- a batch holds that many rows, and a row up to 100 kB
    max_block_size = 512,
    distributed_product_mode = 'global'
