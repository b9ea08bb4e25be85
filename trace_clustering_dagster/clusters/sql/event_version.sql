-- The version of an emitted event in whole seconds since 1970; 0 if there is none.
SELECT ifNull(toUnixTimestamp(max(_timestamp)), 0)
FROM {output_database:Identifier}.{output_events_table:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND event = '$ai_trace_clusters'
    AND timestamp = {timestamp:DateTime64(6, 'UTC')}
    AND toString(uuid) = toString({uuid:UUID})
