-- The UTC day of the oldest vector of each trace whose seeded hash is in the sample's range.
SELECT
    {{trace_id_of_row}} AS trace_id,
    toDate(min(timestamp), 'UTC') AS day
FROM {database:Identifier}.{embeddings_table:Identifier}
WHERE
    {{window_filter}}
    AND isValidUTF8({{trace_id_of_row}})
    AND cityHash64({{trace_id_of_row}}, {seed:UInt64}) <= {hash_cutoff:UInt64}
GROUP BY trace_id
