-- A team's topics of some days, the oldest day first, without the vectors.
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
    traces,
    share,
    users,
    errors,
    cost,
    latency,
    explained
FROM {output_database:Identifier}.{topics_view:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND window_end > {since:DateTime64(3, 'UTC')}
    AND window_end <= {until:DateTime64(3, 'UTC')}
ORDER BY window_end, topic_id
