-- Spans of the OpenTelemetry collector's ClickHouse exporter, with attributes as Map or JSON; also HyperDX
-- table: otel_traces
-- team: ServiceName
-- team attribute: coalesce(nullIf({{attribute:ResourceAttributes}}, ''), {{attribute:SpanAttributes}})
-- optional: Events.Name Array(String), Events.Attributes Array(Map(String, String))
-- content off: set OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true in the application; with OpenLLMetry TRACELOOP_TRACE_CONTENT=true, with OpenInference OPENINFERENCE_HIDE_INPUTS=false and OPENINFERENCE_HIDE_OUTPUTS=false, with Vercel's AI SDK recordInputs and recordOutputs
SELECT
    {{team}} AS team,
    {{otel_step}}
FROM {{table:otel_traces}}
WHERE
    Timestamp >= {since:DateTime64(6, 'UTC')}
    AND Timestamp < {until:DateTime64(6, 'UTC')}
    AND ({{present:SpanAttributes}})
