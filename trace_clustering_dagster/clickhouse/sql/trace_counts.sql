-- Distinct traces of the window: with an eligible embedding; with only embeddings of another
-- model or dimension; with only empty embeddings.
SELECT
    countIf(eligible) AS total,
    countIf(NOT eligible AND has_vector) AS other_model,
    countIf(NOT has_vector) AS empty
FROM (
    SELECT
        max(model_name = {model_name:String} AND length(embedding) = {dimension:UInt64}) AS eligible,
        max(length(embedding) > 0) AS has_vector
    FROM {database:Identifier}.{embeddings_table:Identifier}
    WHERE
        {{window_filter}}
    GROUP BY document_id
)
