-- PostHog's $ai_* events, in the table of all events
-- table: events
-- team: toString(team_id)
-- content off: set privacy_mode to false in PostHog's SDK; newer deployments hold the content in ai_events: use the source posthog-ai-events
SELECT
    {{team}} AS team,
    JSONExtractString(properties, '$ai_trace_id') AS trace_id,
    coalesce(
        nullIf(JSONExtractString(properties, '$ai_generation_id'), ''),
        nullIf(JSONExtractString(properties, '$ai_span_id'), ''),
        toString(uuid)
    ) AS step_id,
    JSONExtractString(properties, '$ai_parent_id') AS parent_id,
    least(greatest({{posthog_number:$ai_latency}}, 0), 2592000) AS latency,
    -- an SDK sends an event when the call ends; spans that came by OpenTelemetry have their start
    JSONExtractString(properties, '$ai_ingestion_source') = 'otel' AS has_start,
    addMicroseconds(toDateTime64(timestamp, 6, 'UTC'), if(has_start, 0, -toInt64(latency * 1e6))) AS start_time,
    addMicroseconds(toDateTime64(timestamp, 6, 'UTC'), if(has_start, toInt64(latency * 1e6), 0)) AS end_time,
    JSONExtractRaw(properties, '$ai_is_error') IN ('true', '"true"') AS is_error,
    event IN ('$ai_metric', '$ai_feedback', 'survey sent') AS is_score,
    coalesce(
        nullIf(JSONExtractString(properties, '$ai_span_name'), ''),
        nullIf(JSONExtractString(properties, '$ai_trace_name'), ''),
        nullIf(JSONExtractString(properties, '$ai_metric_name'), ''),
        if(event IN ('$ai_feedback', 'survey sent'), 'feedback', '')
    ) AS name,
    if(JSONExtractString(properties, '$ai_span_type') = 'tool', name, '') AS entity,
    multiIf(
        is_score, 'score',
        event = '$ai_span' AND JSONExtractString(properties, '$ai_span_type') != '',
        JSONExtractString(properties, '$ai_span_type'),
        substring(event, 5)
    ) AS raw_kind,
    {{first:$ai_input, $ai_input_state}} AS input,
    if(
        event = 'survey sent',
        arrayFirst(
            answer -> startsWith(answer.1, '$survey_response'),
            JSONExtractKeysAndValues(properties, 'String')
        ).2,
        {{first:$ai_output_choices, $ai_output, $ai_output_state, $ai_metric_value, $ai_feedback_text}}
    ) AS output,
    '' AS system,
    {{first:$ai_error}} AS error,
    JSONExtractString(properties, '$ai_model') AS model,
    {{posthog_number:$ai_input_tokens}} AS input_tokens,
    {{posthog_number:$ai_output_tokens}} AS output_tokens,
    if(JSONHas(properties, '$ai_total_cost_usd'), {{posthog_number:$ai_total_cost_usd}}, NULL) AS cost,
    distinct_id AS user,
    JSONExtractString(properties, '$ai_session_id') AS session
FROM {{table:events}}
WHERE
    event IN (
        '$ai_generation', '$ai_span', '$ai_trace', '$ai_embedding', '$ai_metric', '$ai_feedback',
        'survey sent'
    )
    AND timestamp >= {since:DateTime64(6, 'UTC')}
    AND timestamp < {until:DateTime64(6, 'UTC')}
    -- the first column of the primary key
    AND ({team:String} = '' OR team_id = toInt64OrZero({team:String}))
    AND trace_id != ''
