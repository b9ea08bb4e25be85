team_id = {team_id:Int64}
    AND (
        {of_all:Bool}
        OR has({ends:Array(DateTime64(3, 'UTC'))}, window_end)
        OR has(
            arrayZip({title_ends:Array(DateTime64(3, 'UTC'))}, {title_topics:Array(Int64)}),
            (window_end, topic_id)
        )
    )
