SELECT
    timestamp,
    JSONExtractInt(properties, '$ai_optimal_k') AS k,
    JSONExtractRaw(properties, '$ai_clusters') AS clusters
FROM {output_database:Identifier}.{output_events_table:Identifier} FINAL
WHERE team_id = 1 AND event = '$ai_trace_clusters' AND distinct_id = 'trace_clustering_1'
ORDER BY timestamp DESC
LIMIT 1
