-- The newest summary of each trace by one summarizer: the end and the number of steps that it was
-- made from, and why it is only a stand-in ('' if it is none).
SELECT
    JSONExtractString(properties, '$ai_trace_id') AS trace_id,
    argMax(
        (
            JSONExtractString(properties, '$ai_trace_ended'),
            JSONExtractUInt(properties, '$ai_event_count'),
            JSONExtractString(properties, '$ai_summary_stand_in')
        ),
        (timestamp, JSONExtractUInt(properties, '$ai_summary_written'))
    ) AS state
FROM {database:Identifier}.{events_table:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND event = '$ai_trace_summary'
    AND timestamp >= {window_start:DateTime64(6, 'UTC')}
    AND timestamp < {window_end:DateTime64(6, 'UTC')}
    AND isValidUTF8(properties)
    AND JSONExtractString(properties, '$ai_summary_source') = {summarizer:String}
GROUP BY trace_id
