-- The last days of the windows of a team's events that this instance wrote and that name traces.
SELECT DISTINCT toDate(subtractSeconds(timestamp, 1), 'UTC') AS day
FROM {output_database:Identifier}.{output_events_table:Identifier}
WHERE
    {{own_events_filter}}
    AND hasAny(
        arrayMap(
            trace_id -> halfMD5(trace_id),
            arrayFlatten(
                arrayMap(
                    cluster -> JSONExtract(cluster, 'trace_ids', 'Array(String)'),
                    JSONExtractArrayRaw(properties, '$ai_clusters')
                )
            )
        ),
        {trace_id_hashes:Array(UInt64)}
    )
