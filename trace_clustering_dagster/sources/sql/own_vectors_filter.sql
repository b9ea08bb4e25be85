team_id = {team_id:Int64}
    AND product = {product:String}
    AND document_type = {document_type:String}
    AND match(model_name, {spaces:String})
    AND ({of_all:Bool} OR halfMD5(document_id) IN {trace_id_hashes:Array(UInt64)})
