team_id = {team_id:Int64}
    AND event = '$ai_trace_summary'
    AND isValidUTF8(properties)
    AND JSONExtractString(properties, '$ai_summary_source') = {summarizer:String}
