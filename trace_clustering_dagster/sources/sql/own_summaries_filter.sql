team_id = {team_id:Int64}
    AND event = '$ai_trace_summary'
    AND distinct_id = {distinct_id:String}
    AND JSONExtractString(properties, '$ai_summary_source') != ''
    AND (
        {of_all:Bool}
        OR halfMD5(JSONExtractString(properties, '$ai_trace_id')) IN {trace_id_hashes:Array(UInt64)}
    )
