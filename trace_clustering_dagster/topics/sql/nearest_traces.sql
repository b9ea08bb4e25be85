-- The traces of some days that are nearest to the centroid of a topic.
SELECT
    trace_id,
    distance
FROM {output_database:Identifier}.{placed_view:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND topic_id = {topic_id:Int64}
    AND window_end > {since:DateTime64(3, 'UTC')}
    AND window_end <= {until:DateTime64(3, 'UTC')}
    AND distance IS NOT NULL
    AND isValidUTF8(trace_id)
ORDER BY distance, trace_id
LIMIT {count:UInt64}
