-- PostHog's ai_events, the table of newer deployments that holds the content
-- table: ai_events
-- team: toString(team_id)
-- optional: trace_name Nullable(String), span_type Nullable(String), error Nullable(String), session_id Nullable(String), total_cost_usd Nullable(Float64)
-- content off: set privacy_mode to false in PostHog's SDK
SELECT
    {{team}} AS team,
    trace_id,
    coalesce(nullIf(generation_id, ''), nullIf(span_id, ''), toString(uuid)) AS step_id,
    ifNull(parent_id, '') AS parent_id,
    least(greatest(if(isFinite(ifNull(ai_events.latency, 0)), ifNull(ai_events.latency, 0), 0), 0), 2592000) AS seconds,
    -- an SDK sends an event when the call ends; spans that came by OpenTelemetry have their start
    JSONExtractString(properties, '$ai_ingestion_source') = 'otel' AS has_start,
    addMicroseconds(toDateTime64(timestamp, 6, 'UTC'), if(has_start, 0, -toInt64(seconds * 1e6))) AS start_time,
    addMicroseconds(toDateTime64(timestamp, 6, 'UTC'), if(has_start, toInt64(seconds * 1e6), 0)) AS end_time,
    ai_events.is_error = 1 AS is_error,
    event IN ('$ai_metric', '$ai_feedback') AS is_score,
    coalesce(
        nullIf(span_name, ''),
        nullIf(trace_name, ''),
        nullIf(JSONExtractString(properties, '$ai_metric_name'), ''),
        if(event = '$ai_feedback', 'feedback', '')
    ) AS name,
    if(ifNull(span_type, '') = 'tool', name, '') AS entity,
    multiIf(
        is_score, 'score',
        event = '$ai_span' AND ifNull(span_type, '') != '', ifNull(toString(span_type), ''),
        substring(event, 5)
    ) AS raw_kind,
    coalesce(nullIf(nullIf(ai_events.input, ''), 'null'), nullIf(nullIf(input_state, ''), 'null'), '') AS input,
    coalesce(
        nullIf(nullIf(output_choices, ''), 'null'),
        nullIf(nullIf(ai_events.output, ''), 'null'),
        nullIf(nullIf(output_state, ''), 'null'),
        if(
            is_score,
            {{first:$ai_metric_value, $ai_feedback_text}},
            ''
        )
    ) AS output,
    '' AS system,
    ifNull(ai_events.error, '') AS error,
    ifNull(toString(ai_events.model), '') AS model,
    ifNull(ai_events.input_tokens, 0) AS input_tokens,
    ifNull(ai_events.output_tokens, 0) AS output_tokens,
    total_cost_usd AS cost,
    distinct_id AS user,
    ifNull(session_id, '') AS session
FROM {{table:ai_events}} AS ai_events
WHERE
    event IN ('$ai_generation', '$ai_span', '$ai_trace', '$ai_embedding', '$ai_metric', '$ai_feedback')
    AND timestamp >= {since:DateTime64(6, 'UTC')}
    AND timestamp < {until:DateTime64(6, 'UTC')}
    -- the first column of the primary key
    AND ({team:String} = '' OR team_id = toInt64OrZero({team:String}))
    AND trace_id != ''
