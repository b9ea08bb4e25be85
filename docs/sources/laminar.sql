-- Laminar: spans. Since mid-2026 it keeps inputs of language models in llm_messages: read its view spans_v0 then
-- table: spans
-- team: toString(project_id)
-- content off: do not set ignore_input or ignore_output in the application's @observe
SELECT
    {{team}} AS team,
    toString(trace_id) AS trace_id,
    toString(span_id) AS step_id,
    if(parent_span_id = toUUID('00000000-0000-0000-0000-000000000000'), '', toString(parent_span_id)) AS parent_id,
    toDateTime64(spans.start_time, 6, 'UTC') AS start_time,
    toDateTime64(spans.end_time, 6, 'UTC') AS end_time,
    status = 'error' AS is_error,
    false AS is_score,
    toString(spans.name) AS name,
    '' AS entity,
    transform(span_type, [1, 4, 5, 6], ['llm', 'evaluator', 'evaluator', 'tool'], 'span') AS raw_kind,
    spans.input AS input,
    spans.output AS output,
    '' AS system,
    if(status = 'error', JSONExtractString(attributes, 'exception.message'), '') AS error,
    toString(spans.model) AS model,
    spans.input_tokens AS input_tokens,
    spans.output_tokens AS output_tokens,
    toNullable(toFloat64(total_cost)) AS cost,
    replaceOne(user_id, '<null>', '') AS user,
    replaceOne(session_id, '<null>', '') AS session
FROM {{table:spans}} AS spans
WHERE
    spans.start_time >= {since:DateTime64(6, 'UTC')}
    AND spans.start_time < {until:DateTime64(6, 'UTC')}
    -- no evaluations
    AND trace_type = 0
