team_id = {team_id:Int64}
    AND event = '$ai_trace_clusters'
    AND match(distinct_id, {distinct_ids:String})
    AND JSONExtractString(properties, '$ai_clustering_instance') = {instance:String}
    AND (
        {of_all:Bool}
        OR toString(toDate(subtractSeconds(timestamp, 1), 'UTC')) IN {days:Array(String)}
    )
