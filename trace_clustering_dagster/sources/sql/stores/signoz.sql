-- Spans of SigNoz
-- table: signoz_traces.distributed_signoz_index_v3
-- team: ServiceName
-- team attribute: coalesce(nullIf({{attribute:resources_string}}, ''), nullIf({{attribute:resource}}, ''), {{attribute:SpanAttributes}})
-- optional: attributes_number Map(String, Float64), attributes_bool Map(String, Bool), resources_string Map(String, String), resource JSON, status_code_string String, status_message String, events Array(String)
-- content off: set OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true in the application; with OpenLLMetry TRACELOOP_TRACE_CONTENT=true, with OpenInference OPENINFERENCE_HIDE_INPUTS=false and OPENINFERENCE_HIDE_OUTPUTS=false, with Vercel's AI SDK recordInputs and recordOutputs
SELECT
    team,
    {{otel_step}}
FROM (
    SELECT
        {{team}} AS team,
        timestamp AS Timestamp,
        toString(trace_id) AS TraceId,
        span_id AS SpanId,
        parent_span_id AS ParentSpanId,
        name AS SpanName,
        coalesce(
            nullIf({{of:resources_string/service.name}}, ''), {{of:resource/service.name}}
        ) AS ServiceName,
        mapConcat(
            attributes_string,
            mapApply((key, value) -> (key, toString(value)), attributes_number),
            mapApply((key, value) -> (key, toString(value)), attributes_bool)
        ) AS SpanAttributes,
        duration_nano AS Duration,
        if(status_code = 2, 'Error', status_code_string) AS StatusCode,
        status_message AS StatusMessage,
        arrayMap(event -> JSONExtractString(event, 'name'), events) AS `Events.Name`,
        arrayMap(
            event -> JSONExtract(event, 'attributeMap', 'Map(String, String)'), events
        ) AS `Events.Attributes`
    FROM {{table:distributed_signoz_index_v3}}
    WHERE
        -- of half an hour each, the first column of the primary key
        ts_bucket_start >= toUnixTimestamp({since:DateTime64(6, 'UTC')}) - 1800
        AND ts_bucket_start < toUnixTimestamp({until:DateTime64(6, 'UTC')})
        AND timestamp >= {since:DateTime64(6, 'UTC')}
        AND timestamp < {until:DateTime64(6, 'UTC')}
        -- the marks are texts: of the other attributes nothing is read
        AND ({{present:attributes_string}})
)
