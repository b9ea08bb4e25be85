-- Every team with embeddings in each window, and the number of traces that its run could sample:
-- those of its most frequent (model_name, dimension), at most `at_most`, which bounds the memory
-- per team. Reads the length of vectors only, and each row once, however many windows contain it.
-- Team ids that are not positive 64-bit integers cannot be partitions.
SELECT
    window,
    team_id,
    maxIf(
        traces,
        dimension > 0
        AND isValidUTF8(toString(model_name))
        AND ({model_name:String} = '' OR model_name = {model_name:String})
    ) AS eligible
FROM (
    SELECT
        arrayJoin(
            arrayFilter(
                (window, start, end) -> timestamp >= start AND timestamp < end,
                range(length({window_starts:Array(DateTime64(6, 'UTC'))})),
                {window_starts:Array(DateTime64(6, 'UTC'))},
                {window_ends:Array(DateTime64(6, 'UTC'))}
            )
        ) AS window,
        team_id,
        {{model_name}} AS model_name,
        length(embedding) AS dimension,
        length(groupUniqArray({at_most:UInt64})(cityHash64({{trace_id_of_row}}))) AS traces
    FROM {database:Identifier}.{embeddings_table:Identifier}
    WHERE
        {{embeddings_filter}}
        AND team_id BETWEEN 1 AND 9223372036854775807
        AND isValidUTF8({{trace_id_of_row}})
    GROUP BY window, team_id, model_name, dimension
)
GROUP BY window, team_id
ORDER BY window, team_id
