-- When each trace whose seeded hash is in the sample's range began, and why its newest summary is
-- only a stand-in ('' if it is none).
SELECT
    JSONExtractString(properties, '$ai_trace_id') AS trace_id,
    argMax(
        (
            JSONExtractString(properties, 'trace_timestamp'),
            JSONExtractString(properties, '$ai_summary_stand_in')
        ),
        (timestamp, JSONExtractUInt(properties, '$ai_summary_written'))
    ) AS state
FROM {database:Identifier}.{events_table:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND event = '$ai_trace_summary'
    AND isValidUTF8(properties)
    AND JSONExtractString(properties, '$ai_summary_source') = {summarizer:String}
    AND timestamp >= {window_start:DateTime64(6, 'UTC')}
    AND timestamp < {window_end:DateTime64(6, 'UTC')}
    AND cityHash64(JSONExtractString(properties, '$ai_trace_id'), {seed:UInt64})
        <= {hash_cutoff:UInt64}
GROUP BY trace_id
