-- Opik: a table of traces and one of spans
-- table: opik.spans, opik.traces
-- team: toString(project_id)
-- newest: spans(last_updated_at BY workspace_id, project_id, trace_id, parent_span_id, id)
-- newest: traces(last_updated_at BY workspace_id, project_id, id)
-- content off: do not call opik.set_tracing_active(False), and do not drop input and output in the application
SELECT
    {{team}} AS team,
    toString(trace_id) AS trace_id,
    toString(spans.id) AS step_id,
    toString(parent_span_id) AS parent_id,
    toDateTime64(spans.start_time, 6, 'UTC') AS start_time,
    toDateTime64(ifNull(spans.end_time, spans.start_time), 6, 'UTC') AS end_time,
    error_info != '' AS is_error,
    false AS is_score,
    toString(spans.name) AS name,
    '' AS entity,
    toString(type) AS raw_kind,
    spans.input AS input,
    spans.output AS output,
    '' AS system,
    error_info AS error,
    toString(spans.model) AS model,
    toInt64(usage['prompt_tokens']) AS input_tokens,
    toInt64(usage['completion_tokens']) AS output_tokens,
    toNullable(toFloat64(total_estimated_cost)) AS cost,
    '' AS user,
    '' AS session
FROM {{final:spans}} AS spans
WHERE
    spans.start_time >= {since:DateTime64(6, 'UTC')}
    AND spans.start_time < {until:DateTime64(6, 'UTC')}
UNION ALL
SELECT
    toString(project_id),
    toString(traces.id),
    concat('trace/', toString(traces.id)),
    '',
    toDateTime64(traces.start_time, 6, 'UTC'),
    toDateTime64(ifNull(traces.end_time, traces.start_time), 6, 'UTC'),
    false,
    false,
    toString(traces.name),
    '',
    'trace',
    traces.input,
    traces.output,
    '',
    '',
    '',
    toInt64(0),
    toInt64(0),
    NULL,
    '',
    thread_id
FROM {{final:traces}} AS traces
WHERE
    traces.start_time >= {since:DateTime64(6, 'UTC')}
    AND traces.start_time < {until:DateTime64(6, 'UTC')}
