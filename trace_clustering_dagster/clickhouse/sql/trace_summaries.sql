-- The latest summary of each trace. Traces are found by a hash of their id: ids may be of any
-- length and a bound value may not (128 KiB over HTTP). The caller compares the ids themselves.
SELECT
    JSONExtractString(properties, '$ai_trace_id') AS trace_id,
    JSONExtractRaw(properties, '$ai_summary_title') AS title,
    JSONExtractRaw(properties, '$ai_summary_flow_diagram') AS flow_diagram,
    JSONExtractRaw(properties, '$ai_summary_bullets') AS bullets,
    JSONExtractRaw(properties, '$ai_summary_interesting_notes') AS interesting_notes
FROM {database:Identifier}.{events_table:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND event = '$ai_trace_summary'
    AND timestamp >= {window_start:DateTime64(6, 'UTC')}
    AND timestamp < {window_end:DateTime64(6, 'UTC')}
    AND isValidUTF8(properties)
    AND halfMD5(trace_id) IN {trace_id_hashes:Array(UInt64)}
ORDER BY timestamp DESC, uuid
LIMIT 1 BY trace_id
