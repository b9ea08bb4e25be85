team_id = {team_id:Int64}
    AND if(
        {instance:String} = '',
        position(asset, '/') = 0,
        startsWith(asset, concat({instance:String}, '/'))
    )
