-- Langfuse 3: a table of traces and one of observations
-- table: observations, traces
-- team: project_id
-- optional: environment String, is_deleted UInt8, status_message String, provided_model_name String, usage_details Map(String, UInt64), total_cost Nullable(Float64)
-- optional: traces(environment String, is_deleted UInt8, user_id String, session_id String)
-- optional: scores(id String, project_id String, trace_id String, timestamp DateTime64(3), environment String, name String, value Float64, string_value String, comment String, event_ts DateTime64(3), is_deleted UInt8)
-- newest: observations(event_ts BY project_id, id)
-- newest: traces(event_ts BY project_id, id)
-- newest: scores(event_ts BY project_id, id)
-- content off: do not set LANGFUSE_TRACING_ENABLED=false, mask or hide inputs and outputs in the application
SELECT
    {{team}} AS team,
    trace_id,
    observations.id AS step_id,
    ifNull(parent_observation_id, '') AS parent_id,
    toDateTime64(observations.start_time, 6, 'UTC') AS start_time,
    toDateTime64(ifNull(observations.end_time, observations.start_time), 6, 'UTC') AS end_time,
    level = 'ERROR' AS is_error,
    false AS is_score,
    toString(observations.name) AS name,
    '' AS entity,
    lower(type) AS raw_kind,
    ifNull(observations.input, '') AS input,
    ifNull(observations.output, '') AS output,
    '' AS system,
    if(level = 'ERROR', ifNull(status_message, ''), '') AS error,
    toString(ifNull(provided_model_name, '')) AS model,
    {{langfuse_tokens:input}} AS input_tokens,
    {{langfuse_tokens:output}} AS output_tokens,
    toFloat64(total_cost) AS cost,
    '' AS user,
    '' AS session
FROM {{final:observations}} AS observations
WHERE
    observations.start_time >= {since:DateTime64(6, 'UTC')}
    AND observations.start_time < {until:DateTime64(6, 'UTC')}
    AND is_deleted = 0
    AND ifNull(trace_id, '') != ''
    -- Langfuse's own evaluations
    AND environment NOT LIKE 'langfuse-%'
UNION ALL
-- A trace has no end: those of its observations count.
SELECT
    project_id,
    traces.id,
    concat('trace/', traces.id),
    '',
    toDateTime64(traces.timestamp, 6, 'UTC'),
    toDateTime64(traces.timestamp, 6, 'UTC'),
    false,
    false,
    toString(traces.name),
    '',
    'trace',
    ifNull(traces.input, ''),
    ifNull(traces.output, ''),
    '',
    '',
    '',
    toInt64(0),
    toInt64(0),
    NULL,
    ifNull(user_id, ''),
    ifNull(session_id, '')
FROM {{final:traces}} AS traces
WHERE
    traces.timestamp >= {since:DateTime64(6, 'UTC')}
    AND traces.timestamp < {until:DateTime64(6, 'UTC')}
    AND is_deleted = 0
    AND environment NOT LIKE 'langfuse-%'
UNION ALL
{{langfuse_scores}}
