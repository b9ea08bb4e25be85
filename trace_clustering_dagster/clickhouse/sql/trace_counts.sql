-- Distinct traces of the window: with an eligible embedding; with only embeddings of another
-- model or dimension; with only empty embeddings; with an id that
-- is no UTF-8, which no event could carry.
SELECT
    countIf(is_text AND eligible) AS total,
    countIf(is_text AND NOT eligible AND has_vector) AS other_model,
    countIf(is_text AND NOT has_vector) AS empty,
    countIf(NOT is_text) AS not_text
FROM (
    SELECT
        isValidUTF8(document_id) AS is_text,
        max(model_name = {model_name:String} AND length(embedding) = {dimension:UInt64}) AS eligible,
        max(length(embedding) > 0) AS has_vector
    FROM {database:Identifier}.{embeddings_table:Identifier}
    WHERE
        {{window_filter}}
    GROUP BY document_id
)
