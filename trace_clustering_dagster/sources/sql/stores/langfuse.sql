-- Langfuse 4, and 3 in dual write mode: one row a span
-- table: events_full
-- team: project_id
-- optional: environment String, is_deleted UInt8, status_message String, provided_model_name String, usage_details Map(String, UInt64), cost_details Map(String, Float64), user_id String, session_id String
-- optional: scores(id String, project_id String, trace_id String, timestamp DateTime64(3), environment String, name String, value Float64, string_value String, comment String, event_ts DateTime64(3), is_deleted UInt8)
-- newest: events_full(event_ts BY project_id, trace_id, span_id)
-- newest: scores(event_ts BY project_id, id)
-- content off: do not set LANGFUSE_TRACING_ENABLED=false, mask or hide inputs and outputs in the application
SELECT
    {{team}} AS team,
    trace_id,
    span_id AS step_id,
    parent_span_id AS parent_id,
    toDateTime64(events.start_time, 6, 'UTC') AS start_time,
    toDateTime64(ifNull(events.end_time, events.start_time), 6, 'UTC') AS end_time,
    level = 'ERROR' AS is_error,
    false AS is_score,
    toString(events.name) AS name,
    '' AS entity,
    -- the root stands for the trace
    if(parent_span_id = '' AND type = 'SPAN', 'trace', lower(type)) AS raw_kind,
    input,
    output,
    '' AS system,
    if(level = 'ERROR', status_message, '') AS error,
    toString(provided_model_name) AS model,
    {{langfuse_tokens:input}} AS input_tokens,
    {{langfuse_tokens:output}} AS output_tokens,
    if(mapContains(cost_details, 'total'), toFloat64(cost_details['total']), NULL) AS cost,
    toString(user_id) AS user,
    toString(session_id) AS session
FROM {{final:events_full}} AS events
WHERE
    events.start_time >= {since:DateTime64(6, 'UTC')}
    AND events.start_time < {until:DateTime64(6, 'UTC')}
    AND is_deleted = 0
    AND trace_id != ''
    -- Langfuse's own evaluations
    AND environment NOT LIKE 'langfuse-%'
UNION ALL
{{langfuse_scores}}
