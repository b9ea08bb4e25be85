-- Which embeddings the window's traces have: (model_name, dimension, traces), most frequent first,
-- and the document types and renderings that occur among them. Dimension 0 is an empty embedding.
-- Reads no vector, only its length. A model or an id that is no UTF-8 would not come back as it is.
SELECT
    {{model_name}} AS model_name,
    length(embedding) AS dimension,
    uniqExact({{trace_id}}) AS traces,
    groupUniqArrayArray([toString(document_type), toString({{rendering}})]) AS names
FROM {database:Identifier}.{embeddings_table:Identifier}
WHERE
    {{window_filter}}
    AND isValidUTF8(toString(model_name))
    AND isValidUTF8({{trace_id}})
GROUP BY model_name, dimension
ORDER BY traces DESC, model_name, dimension
