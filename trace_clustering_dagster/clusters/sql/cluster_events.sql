-- Events of a team that this instance emitted, the newest window first. Of rows that are not merged yet, the newest.
-- With a uuid, only the event with this uuid.
SELECT properties
FROM {output_database:Identifier}.{output_events_table:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND event = '$ai_trace_clusters'
    AND distinct_id = {distinct_id:String}
    AND JSONExtractString(properties, '$ai_clustering_instance') = {instance:String}
    AND timestamp >= {from:DateTime64(6, 'UTC')}
    AND timestamp <= {until:DateTime64(6, 'UTC')}
    AND ({uuid:String} = '' OR toString(uuid) = {uuid:String})
ORDER BY timestamp DESC, _timestamp DESC, created_at DESC
LIMIT 1 BY uuid
LIMIT {limit:UInt64}
