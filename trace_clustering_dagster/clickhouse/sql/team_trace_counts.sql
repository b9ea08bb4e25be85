-- Every team with embeddings in the window, and how many traces a run of it would be eligible to
-- sample: those of its most frequent (model_name, dimension). Reads no vector, only its length.
-- Team ids that are not positive 64-bit integers are no partitions.
SELECT
    team_id,
    maxIf(
        traces,
        dimension > 0
        AND isValidUTF8(toString(model_name))
        AND ({model_name:String} = '' OR model_name = {model_name:String})
    ) AS eligible
FROM (
    SELECT
        team_id,
        {{model_name}} AS model_name,
        length(embedding) AS dimension,
        uniqExact({{trace_id}}) AS traces
    FROM {database:Identifier}.{embeddings_table:Identifier}
    WHERE
        {{embeddings_filter}}
        AND team_id BETWEEN 1 AND 9223372036854775807
        AND isValidUTF8({{trace_id}})
    GROUP BY team_id, model_name, dimension
)
GROUP BY team_id
ORDER BY team_id
