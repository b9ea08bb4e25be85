-- Langfuse's own summaries of traces by facet, in place of the traces: put the facet's id for 'intent'
-- table: topic_facet_summaries
-- team: project_id
-- content off: switch on the facet in Langfuse's topics
SELECT
    {{team}} AS team,
    trace_id,
    summaries.id AS step_id,
    '' AS parent_id,
    toDateTime64(unit_timestamp, 6, 'UTC') AS start_time,
    toDateTime64(unit_timestamp, 6, 'UTC') AS end_time,
    false AS is_error,
    false AS is_score,
    toString(facet_id) AS name,
    '' AS entity,
    'trace' AS raw_kind,
    summary AS input,
    '' AS output,
    '' AS system,
    '' AS error,
    toString(summary_model) AS model,
    toInt64(summaries.input_tokens) AS input_tokens,
    toInt64(summaries.output_tokens) AS output_tokens,
    toNullable(toFloat64(summary_cost_usd)) AS cost,
    '' AS user,
    toString(session_id) AS session
FROM (
    SELECT *
    FROM {{table:topic_facet_summaries}}
    ORDER BY revision DESC, result_version DESC
    LIMIT 1 BY project_id, id
) AS summaries
WHERE
    unit_timestamp >= {since:DateTime64(6, 'UTC')}
    AND unit_timestamp < {until:DateTime64(6, 'UTC')}
    AND facet_id = 'intent'
    AND processing_state = 'complete'
    AND trace_id != ''
