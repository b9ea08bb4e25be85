-- The living topics of the newest window that ended in [since, window_end), by id.
SELECT
    topic_id,
    window_end,
    lineage,
    theme_id,
    born,
    last_seen,
    parents,
    centroid,
    founder,
    radius,
    model_name,
    dimension
FROM {output_database:Identifier}.{output_topics_over_time_table:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND (window_end, _timestamp) = (
        SELECT
            window_end,
            _timestamp
        FROM {output_database:Identifier}.{output_topics_over_time_table:Identifier}
        WHERE
            team_id = {team_id:Int64}
            AND window_end >= {since:DateTime64(3, 'UTC')}
            AND window_end < {window_end:DateTime64(3, 'UTC')}
        ORDER BY window_end DESC, _timestamp DESC
        LIMIT 1
    )
    AND topic_id > 0
    AND NOT empty(centroid)
ORDER BY topic_id
LIMIT 1 BY topic_id
