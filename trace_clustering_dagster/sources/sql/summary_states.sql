-- The newest summary of each trace by one summarizer: the start, the end and the number of steps
-- that it was made from, and why it is only a stand-in ('' if it is none).
SELECT
    JSONExtractString(properties, '$ai_trace_id') AS trace_id,
    argMax(
        (
            JSONExtractString(properties, 'trace_timestamp'),
            JSONExtractString(properties, '$ai_trace_ended'),
            JSONExtractUInt(properties, '$ai_event_count'),
            JSONExtractString(properties, '$ai_summary_stand_in')
        ),
        (timestamp, JSONExtractUInt(properties, '$ai_summary_written'))
    ) AS state
FROM {database:Identifier}.{events_table:Identifier}
WHERE
    {{summaries_filter}}
    AND timestamp >= {window_start:DateTime64(6, 'UTC')}
    AND timestamp < {window_end:DateTime64(6, 'UTC')}
GROUP BY trace_id
