-- What one day had: teams, traces, steps, tokens, and how many steps of a language model have
-- content. Reads the content.
SELECT
    uniqExact(team) AS teams,
    uniqExact(team, trace_id) AS traces,
    uniqExact(team, trace_id, step_id) AS steps,
    sum(tokens_in) AS input_tokens,
    sum(tokens_out) AS output_tokens,
    uniqExactIf((team, trace_id), has_content) AS with_content
FROM (
    SELECT
        team,
        trace_id,
        step_id,
        max({{count_of:input_tokens}}) AS tokens_in,
        max({{count_of:output_tokens}}) AS tokens_out,
        max(length(input) > 0 OR length(output) > 0) AS has_content
    FROM ({{source}})
    WHERE
        NOT is_score
        AND team != ''
    GROUP BY team, trace_id, step_id
)
SETTINGS
    optimize_functions_to_subcolumns = 0,
    max_bytes_before_external_group_by = 1000000000, distributed_product_mode = 'global'
