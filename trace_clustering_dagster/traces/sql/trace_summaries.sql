-- The latest summary of each trace. Traces are selected by a hash of their id, because bound values
-- are limited (128 KiB over HTTP) and ids are not. The caller compares the ids themselves.
-- Long texts are truncated to what labels and readers need.
SELECT
    JSONExtractString(properties, '$ai_trace_id') AS trace_id,
    leftUTF8(JSONExtractRaw(properties, '$ai_summary_title'), {max_text:UInt64}) AS title,
    if({titles_only:Bool}, '', leftUTF8(JSONExtractRaw(properties, '$ai_summary_flow_diagram'), {max_text:UInt64})) AS flow_diagram,
    if({titles_only:Bool}, '', leftUTF8(JSONExtractRaw(properties, '$ai_summary_bullets'), {max_list:UInt64})) AS bullets,
    if({titles_only:Bool}, '', leftUTF8(JSONExtractRaw(properties, '$ai_summary_interesting_notes'), {max_list:UInt64})) AS interesting_notes
FROM {database:Identifier}.{events_table:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND event = '$ai_trace_summary'
    AND timestamp >= {window_start:DateTime64(6, 'UTC')}
    AND timestamp < {window_end:DateTime64(6, 'UTC')}
    AND isValidUTF8(properties)
    AND halfMD5(trace_id) IN {trace_id_hashes:Array(UInt64)}
    AND (
        {summarizer:String} = ''
        OR JSONExtractString(properties, '$ai_summary_source') = {summarizer:String}
    )
ORDER BY timestamp DESC, JSONExtractUInt(properties, '$ai_summary_written') DESC, uuid
LIMIT 1 BY trace_id
-- sort the extracted texts, not all properties
SETTINGS query_plan_execute_functions_after_sorting = 0
