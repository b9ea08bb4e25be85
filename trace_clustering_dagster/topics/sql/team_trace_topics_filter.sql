team_id = {team_id:Int64}
    AND ({of_all:Bool} OR halfMD5(trace_id) IN {trace_id_hashes:Array(UInt64)})
