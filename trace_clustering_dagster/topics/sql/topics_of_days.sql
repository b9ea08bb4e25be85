-- A team's topics of some days, the oldest day first, without the vectors. Other
-- programs may have written numbers that are none.
SELECT
    window_end,
    topic_id,
    lineage,
    title,
    description,
    theme_id,
    theme_title,
    status,
    born,
    last_seen,
    parents,
    if(isFinite(traces), traces, NULL),
    if(isFinite(share), share, NULL),
    if(isFinite(users), users, NULL),
    if(isFinite(errors), errors, NULL),
    if(isFinite(cost), cost, NULL),
    if(isFinite(latency), latency, NULL),
    if(isFinite(explained), explained, NULL)
FROM {output_database:Identifier}.{topics_view:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND window_end > {since:DateTime64(3, 'UTC')}
    AND window_end <= {until:DateTime64(3, 'UTC')}
ORDER BY window_end, topic_id
