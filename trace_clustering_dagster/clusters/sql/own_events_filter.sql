team_id = {team_id:Int64}
    AND event = '$ai_trace_clusters'
    AND match(distinct_id, {distinct_ids:String})
    AND JSONExtractString(properties, '$ai_clustering_instance') = {instance:String}
