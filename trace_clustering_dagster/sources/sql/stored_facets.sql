-- The facets of the newest summary of each trace by one summarizer, as JSON.
SELECT
    JSONExtractString(properties, '$ai_trace_id') AS trace_id,
    argMax(
        JSONExtractRaw(properties, '$ai_summary_facets'),
        (timestamp, JSONExtractUInt(properties, '$ai_summary_written'))
    ) AS facets
FROM {database:Identifier}.{events_table:Identifier}
WHERE
    {{summaries_filter}}
    AND timestamp >= {window_start:DateTime64(6, 'UTC')}
    AND timestamp < {window_end:DateTime64(6, 'UTC')}
GROUP BY trace_id
