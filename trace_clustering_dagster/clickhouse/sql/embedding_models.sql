-- Which embeddings the window's traces have: (model_name, dimension, traces), most frequent first.
-- Dimension 0 is an empty embedding. Reads no vector, only its length. A name that is no UTF-8
-- would not come back as it is.
SELECT
    model_name,
    length(embedding) AS dimension,
    uniqExact(document_id) AS traces
FROM {database:Identifier}.{embeddings_table:Identifier}
WHERE
    {{window_filter}}
    AND isValidUTF8(toString(model_name))
GROUP BY model_name, dimension
ORDER BY traces DESC, model_name, dimension
