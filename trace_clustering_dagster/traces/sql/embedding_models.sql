-- The embedding models and dimensions in the window, most frequent first, with the number of traces
-- and the document types and renderings among them. Dimension 0 is an empty embedding. Reads the
-- length of vectors only. The driver cannot return a model or an id that is not UTF-8 unchanged.
SELECT
    {{model_name}} AS model_name,
    length(embedding) AS dimension,
    uniqExact({{trace_id_of_row}}) AS traces,
    groupUniqArrayArray([toString(document_type), toString({{rendering_of_row}})]) AS names
FROM {database:Identifier}.{embeddings_table:Identifier}
WHERE
    {{window_filter}}
    AND isValidUTF8(toString(model_name))
    AND isValidUTF8({{trace_id_of_row}})
GROUP BY model_name, dimension
ORDER BY traces DESC, model_name, dimension
