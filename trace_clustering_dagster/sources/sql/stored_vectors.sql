-- The vectors of a space: for each trace and rendering the hash of the text that the newest one was
-- made from. Reads no vectors.
SELECT
    document_id,
    toString(rendering) AS kind,
    argMax(halfMD5(content), inserted_at) AS content_hash
FROM {database:Identifier}.{embeddings_table:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND timestamp >= {window_start:DateTime64(6, 'UTC')}
    AND timestamp < {window_end:DateTime64(6, 'UTC')}
    AND product = {product:String}
    AND document_type = {document_type:String}
    AND model_name = {space:String}
GROUP BY document_id, kind
