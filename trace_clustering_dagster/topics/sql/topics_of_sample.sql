-- The topics of the traces of a window whose seeded hash is in the sample's range, by the hash of the
-- id by which they are remembered: as its newest run placed them.
SELECT
    halfMD5(trace_id),
    topic_id
FROM {output_database:Identifier}.{output_trace_topics_table:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND window_end = {window_end:DateTime64(3, 'UTC')}
    AND _timestamp = (
        SELECT max(_timestamp)
        FROM {output_database:Identifier}.{output_trace_topics_table:Identifier}
        WHERE
            team_id = {team_id:Int64}
            AND window_end = {window_end:DateTime64(3, 'UTC')}
    )
    AND cityHash64(trace_id, {seed:UInt64}) <= {hash_cutoff:UInt64}
    AND topic_id > 0
