-- Which embeddings the window's traces have: (model_name, dimension, traces), most frequent first.
-- Dimension 0 is an empty embedding. Reads no vector, only its length.
SELECT
    model_name,
    length(embedding) AS dimension,
    uniqExact(document_id) AS traces
FROM {database:Identifier}.{embeddings_table:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND timestamp >= {window_start:DateTime64(6, 'UTC')}
    AND timestamp < {window_end:DateTime64(6, 'UTC')}
    AND product = {product:String}
    AND document_type = {document_type:String}
    AND rendering IN {renderings:Array(String)}
GROUP BY model_name, dimension
ORDER BY traces DESC, model_name, dimension
