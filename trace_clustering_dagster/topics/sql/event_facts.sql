-- What PostHog's $ai_ events say of each trace; null where they say nothing. Users and sessions are
-- hashes, the latency is in microseconds. Impossible numbers are unknown. An event that came twice
-- counts once.
SELECT
    trace_id,
    nullIf(argMinIf(step_user, (began, step), step_user != 0), 0) AS user,
    nullIf(argMinIf(step_session, (began, step), step_session != 0), 0) AS session,
    if(max(is_step), max(failed), NULL) AS has_error,
    -- exact, whatever the order
    toFloat64(sum(toDecimal128(dollars, 12))) AS cost,
    sum(toDecimal128(round(tokens_in), 0)) AS input_tokens,
    sum(toDecimal128(round(tokens_out), 0)) AS output_tokens,
    if(max(is_timed), dateDiff('microsecond', minIf(began, is_step), maxIf(ended, is_step)), NULL)
        AS latency,
    toFloat64(sum(toDecimal128(step_score, 12))) / nullIf(count(step_score), 0) AS score,
    if(max(NOT is_step), 1, NULL) AS has_feedback
FROM (
    SELECT
        trace_id,
        step,
        is_step,
        min(started) AS began,
        max(addMicroseconds(started, ifNull(microseconds, 0))) AS ended,
        max(is_step AND microseconds IS NOT NULL) AS is_timed,
        max(is_error) AS failed,
        max(if(is_call AND raw_cost >= 0 AND raw_cost < 1e9, raw_cost, NULL)) AS dollars,
        max(if(is_call AND raw_input >= 0 AND raw_input < 1e15, raw_input, NULL)) AS tokens_in,
        max(if(is_call AND raw_output >= 0 AND raw_output < 1e15, raw_output, NULL)) AS tokens_out,
        max(if(raw_score >= 0 AND raw_score <= 1, raw_score, NULL)) AS step_score,
        max(user_hash) AS step_user,
        max(session_hash) AS step_session
    FROM (
        WITH
            -- once: each further JSONExtract would parse all content again
            JSONExtract(
                properties,
                'Tuple(
                    `$ai_trace_id` String,
                    `$ai_generation_id` String,
                    `$ai_span_id` String,
                    `$ai_ingestion_source` String,
                    `$ai_session_id` String,
                    `$ai_is_error` String,
                    `$ai_latency` String,
                    `$ai_total_cost_usd` String,
                    `$ai_input_tokens` String,
                    `$ai_output_tokens` String,
                    `$ai_metric_value` String
                )'
            ) AS said
        SELECT
            said.`$ai_trace_id` AS trace_id,
            event IN ('$ai_generation', '$ai_embedding') AS is_call,
            event NOT IN ('$ai_metric', '$ai_feedback') AS is_step,
            sipHash64(
                event,
                coalesce(
                    nullIf(said.`$ai_generation_id`, ''),
                    nullIf(said.`$ai_span_id`, ''),
                    toString(uuid)
                )
            ) AS step,
            -- at most 30 days; null in place of an infinity
            accurateCastOrNull(round(toFloat64OrNull(said.`$ai_latency`) * 1e6), 'Int64')
                AS given_latency,
            if(given_latency BETWEEN 0 AND 2592000000000, given_latency, NULL) AS microseconds,
            -- an SDK sends an event when the call ends; spans that came by OpenTelemetry have their
            -- start
            addMicroseconds(
                toDateTime64(timestamp, 6, 'UTC'),
                if(said.`$ai_ingestion_source` = 'otel', 0, -ifNull(microseconds, 0))
            ) AS started,
            said.`$ai_is_error` = 'true' AS is_error,
            toFloat64OrNull(said.`$ai_total_cost_usd`) AS raw_cost,
            toFloat64OrNull(said.`$ai_input_tokens`) AS raw_input,
            toFloat64OrNull(said.`$ai_output_tokens`) AS raw_output,
            said.`$ai_metric_value` AS metric,
            if(
                event = '$ai_metric',
                multiIf(metric = 'true', 1, metric = 'false', 0, toFloat64OrNull(metric)),
                NULL
            ) AS raw_score,
            -- SDKs put the trace in place of a user that they do not know
            if(distinct_id IN ('', trace_id), 0, sipHash64(distinct_id)) AS user_hash,
            said.`$ai_session_id` AS conversation,
            if(conversation = '', 0, sipHash64(conversation)) AS session_hash
        FROM {database:Identifier}.{events_table:Identifier}
        WHERE
            team_id = {team_id:Int64}
            AND event IN (
                '$ai_generation', '$ai_embedding', '$ai_span', '$ai_trace', '$ai_metric',
                '$ai_feedback'
            )
            AND timestamp >= {since:DateTime64(6, 'UTC')}
            AND timestamp < {until:DateTime64(6, 'UTC')}
            AND trace_id != ''
    )
    GROUP BY trace_id, step, is_step
)
GROUP BY trace_id
