-- A deterministic sample of the eligible traces: those with the smallest seeded hashes.
-- A limit of 0 takes every trace.
SELECT
    document_id,
    cityHash64(document_id, {seed:UInt64}) AS hash
FROM {database:Identifier}.{embeddings_table:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND timestamp >= {window_start:DateTime64(6, 'UTC')}
    AND timestamp < {window_end:DateTime64(6, 'UTC')}
    AND product = {product:String}
    AND document_type = {document_type:String}
    AND rendering IN {renderings:Array(String)}
    AND model_name = {model_name:String}
    AND length(embedding) = {dimension:UInt64}
GROUP BY document_id
ORDER BY hash, document_id
LIMIT {max_samples:UInt64}
