team_id = {team_id:Int64}
