-- Helicone: one row a request; the requests of a session are one trace
-- table: request_response_rmt
-- team: toString(organization_id)
-- newest: request_response_rmt(updated_at BY organization_id, request_id)
-- content off: do not send the headers Helicone-Omit-Request and Helicone-Omit-Response
SELECT
    {{team}} AS team,
    coalesce(nullIf(properties['Helicone-Session-Id'], ''), toString(request_id)) AS trace_id,
    toString(request_id) AS step_id,
    '' AS parent_id,
    toDateTime64(request_created_at, 6, 'UTC') AS start_time,
    toDateTime64(ifNull(response_created_at, request_created_at), 6, 'UTC') AS end_time,
    status >= 400 OR status < 0 AS is_error,
    false AS is_score,
    coalesce(
        nullIf(properties['Helicone-Session-Name'], ''),
        nullIf(properties['Helicone-Session-Path'], ''),
        requests.model
    ) AS name,
    '' AS entity,
    'generation' AS raw_kind,
    request_body AS input,
    response_body AS output,
    '' AS system,
    if(is_error, response_body, '') AS error,
    toString(requests.model) AS model,
    toInt64(ifNull(prompt_tokens, 0)) AS input_tokens,
    toInt64(ifNull(completion_tokens, 0)) AS output_tokens,
    CAST(NULL, 'Nullable(Float64)') AS cost,
    toString(user_id) AS user,
    properties['Helicone-Session-Id'] AS session
FROM {{final:request_response_rmt}} AS requests
WHERE
    request_created_at >= {since:DateTime64(6, 'UTC')}
    AND request_created_at < {until:DateTime64(6, 'UTC')}
