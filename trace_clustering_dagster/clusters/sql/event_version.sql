-- Number of rows of an emitted event, their newest version in whole seconds since 1970, and the
-- instance that wrote that version ('' for one without a name).
SELECT
    count(),
    ifNull(toUnixTimestamp(max(_timestamp)), 0),
    argMax(
        ifNull(JSONExtractString(properties, '$ai_clustering_instance'), ''),
        (_timestamp, created_at)
    )
FROM {output_database:Identifier}.{output_events_table:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND event = '$ai_trace_clusters'
    AND timestamp = {timestamp:DateTime64(6, 'UTC')}
    AND toString(uuid) = toString({uuid:UUID})
