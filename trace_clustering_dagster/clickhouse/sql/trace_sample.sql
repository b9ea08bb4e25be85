-- A deterministic sample of the eligible traces: those with the smallest seeded hashes.
-- A limit of 0 takes every trace.
SELECT
    document_id,
    cityHash64(document_id, {seed:UInt64}) AS hash
FROM {database:Identifier}.{embeddings_table:Identifier}
WHERE
    {{window_filter}}
    AND model_name = {model_name:String}
    AND length(embedding) = {dimension:UInt64}
    AND isValidUTF8(document_id)
GROUP BY document_id
ORDER BY hash, document_id
LIMIT {max_samples:UInt64}
