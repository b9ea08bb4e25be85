team_id = {team_id:Int64}
    AND {{embeddings_filter}}
