-- Counts of the window's distinct traces: those with an eligible embedding; with only embeddings of
-- another model or dimension; with only empty embeddings; with an id that is not UTF-8, which an
-- event cannot hold. Also a deterministic sample: the eligible traces with the smallest seeded
-- hashes. One query, so that counts and sample agree although traces arrive meanwhile.
SELECT
    countIf(is_text AND eligible) AS total,
    countIf(is_text AND NOT eligible AND has_vector) AS other_model,
    countIf(is_text AND NOT has_vector) AS empty,
    countIf(NOT is_text) AS not_text,
    arraySlice(
        arrayPartialSort(
            {max_samples:UInt64}, groupArrayIf((hash, trace_id), is_text AND eligible)
        ),
        1,
        {max_samples:UInt64}
    ) AS sample
FROM (
    SELECT
        {{trace_id_of_row}} AS trace_id,
        cityHash64(trace_id, {seed:UInt64}) AS hash,
        isValidUTF8(trace_id) AS is_text,
        max(
            {{model_name}} = {model_name:String}
            AND length(embedding) = {dimension:UInt64}
            AND length(embedding) > 0
        ) AS eligible,
        max(length(embedding) > 0) AS has_vector
    FROM {database:Identifier}.{embeddings_table:Identifier}
    WHERE
        {{window_filter}}
    GROUP BY trace_id
)
