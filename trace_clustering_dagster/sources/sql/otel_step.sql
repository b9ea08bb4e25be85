-- The columns of a step, from a span of OpenTelemetry in any dialect. Content stands in other
-- attributes in each; where a span has several, the first of these lines is the fullest.
TraceId AS trace_id,
    SpanId AS step_id,
    ParentSpanId AS parent_id,
    -- rounded to microseconds
    toDateTime64(addNanoseconds(toDateTime64(Timestamp, 9, 'UTC'), 500), 6, 'UTC') AS start_time,
    toDateTime64(
        addNanoseconds(
            toDateTime64(Timestamp, 9, 'UTC'),
            -- an end before the start wraps around
            500 + if(Duration < 2592000000000000, toInt64(Duration), 0)
        ),
        6,
        'UTC'
    ) AS end_time,
    -- older exporters write STATUS_CODE_ERROR
    endsWith(lower(StatusCode), 'error') AS is_error,
    false AS is_score,
    coalesce(nullIf({{a:logfire.msg}}, ''), toString(SpanName)) AS name,
    multiIf(
        {{a:langfuse.observation.type}} != '', {{a:langfuse.observation.type}},
        {{a:openinference.span.kind}} != '', {{a:openinference.span.kind}},
        {{a:gen_ai.operation.name}} != '', {{a:gen_ai.operation.name}},
        {{a:genkit:metadata:subtype}} != '', {{a:genkit:metadata:subtype}},
        {{a:genkit:type}} != '', {{a:genkit:type}},
        {{a:ai.operationId}} != '', {{a:ai.operationId}},
        {{a:traceloop.span.kind}} != '', {{a:traceloop.span.kind}},
        {{a:langsmith.span.kind}} != '', {{a:langsmith.span.kind}},
        {{a:mlflow.spanType}} != '', trim(BOTH '"' FROM {{a:mlflow.spanType}}),
        {{a:llm.request.type}} != '', {{a:llm.request.type}},
        {{a:gen_ai.tool.name}} != '' OR {{a:lk.function_tool.name}} != ''
        OR {{a:gcp.vertex.agent.tool_call_args}} != '', 'tool',
        {{a:gen_ai.request.model}} != '' OR {{a:gcp.vertex.agent.llm_request}} != ''
        OR {{a:lk.response.text}} != '', 'generation',
        ''
    ) AS raw_kind,
    coalesce(
        nullIf({{a:gen_ai.tool.name}}, ''),
        nullIf({{a:tool.name}}, ''),
        nullIf({{a:ai.toolCall.name}}, ''),
        nullIf({{a:lk.function_tool.name}}, ''),
        nullIf({{a:gen_ai.agent.name}}, ''),
        nullIf({{a:agent.name}}, ''),
        nullIf({{a:agent_name}}, ''),
        nullIf({{a:traceloop.entity.name}}, ''),
        nullIf({{a:genkit:name}}, ''),
        ''
    ) AS entity,
    coalesce(
        nullIf({{a:langfuse.observation.input}}, ''),
        nullIf({{a:gen_ai.input.messages}}, ''),
        nullIf({{a:gen_ai.tool.call.arguments}}, ''),
        nullIf({{a:gen_ai.retrieval.query.text}}, ''),
        nullIf({{a:ai.prompt.messages}}, ''),
        nullIf({{a:ai.prompt}}, ''),
        nullIf({{a:ai.toolCall.args}}, ''),
        nullIf({{a:input.value}}, ''),
        nullIf({{a:traceloop.entity.input}}, ''),
        nullIf({{a:mlflow.spanInputs}}, ''),
        nullIf({{a:gcp.vertex.agent.llm_request}}, ''),
        nullIf({{a:gcp.vertex.agent.tool_call_args}}, ''),
        nullIf({{a:genkit:input}}, ''),
        nullIf({{a:lk.input_text}}, ''),
        nullIf({{a:lk.chat_ctx}}, ''),
        nullIf({{a:lk.function_tool.arguments}}, ''),
        nullIf({{a:tool_arguments}}, ''),
        nullIf({{a:pydantic_ai.all_messages}}, ''),
        nullIf({{a:all_messages_events}}, ''),
        nullIf({{a:events}}, ''),
        nullIf({{a:request_data}}, ''),
        nullIf({{a:gen_ai.prompt}}, ''),
        nullIf({{a:langfuse.trace.input}}, ''),
        nullIf({{flat:gen_ai.prompt}}, '{}'),
        nullIf({{flat:llm.input_messages}}, '{}'),
        nullIf({{event:gen_ai.client.inference.operation.details/gen_ai.input.messages}}, ''),
        nullIf({{events:gen_ai.system.message, gen_ai.user.message, gen_ai.assistant.message, gen_ai.tool.message}}, '[]'),
        ''
    ) AS input,
    coalesce(
        nullIf({{a:langfuse.observation.output}}, ''),
        nullIf({{a:gen_ai.output.messages}}, ''),
        nullIf({{a:gen_ai.tool.call.result}}, ''),
        nullIf({{a:gen_ai.retrieval.documents}}, ''),
        -- Vercel's AI SDK: a text, calls of tools, or both
        if(
            {{a:ai.response.text}} != '' AND {{a:ai.response.toolCalls}} NOT IN ('', '[]'),
            concat(
                '[{"role":"assistant","content":', toJSONString({{a:ai.response.text}}),
                ',"tool_calls":', {{a:ai.response.toolCalls}}, '}]'
            ),
            NULL
        ),
        nullIf({{a:ai.response.text}}, ''),
        nullIf({{a:ai.response.object}}, ''),
        nullIf({{a:ai.response.toolCalls}}, ''),
        nullIf({{a:ai.result.text}}, ''),
        nullIf({{a:ai.result.object}}, ''),
        nullIf({{a:ai.result.toolCalls}}, ''),
        nullIf({{a:ai.toolCall.result}}, ''),
        nullIf({{a:output.value}}, ''),
        nullIf({{a:traceloop.entity.output}}, ''),
        nullIf({{a:mlflow.spanOutputs}}, ''),
        nullIf({{a:gcp.vertex.agent.llm_response}}, ''),
        nullIf({{a:gcp.vertex.agent.tool_response}}, ''),
        nullIf({{a:genkit:output}}, ''),
        nullIf({{a:lk.response.text}}, ''),
        nullIf({{a:lk.function_tool.output}}, ''),
        nullIf({{a:tool_response}}, ''),
        nullIf({{a:final_result}}, ''),
        nullIf({{a:response_data}}, ''),
        nullIf({{a:gen_ai.completion}}, ''),
        nullIf({{a:langfuse.trace.output}}, ''),
        nullIf({{flat:gen_ai.completion}}, '{}'),
        nullIf({{flat:llm.output_messages}}, '{}'),
        nullIf({{flat:retrieval.documents}}, '{}'),
        nullIf({{event:gen_ai.client.inference.operation.details/gen_ai.output.messages}}, ''),
        nullIf({{events:gen_ai.choice}}, '[]'),
        ''
    ) AS output,
    coalesce(
        nullIf({{a:gen_ai.system_instructions}}, ''),
        nullIf({{event:gen_ai.client.inference.operation.details/gen_ai.system_instructions}}, ''),
        ''
    ) AS system,
    coalesce(
        nullIf(StatusMessage, ''),
        nullIf({{event:exception/exception.message}}, ''),
        nullIf({{a:langfuse.observation.status_message}}, ''),
        {{a:error.type}}
    ) AS error,
    coalesce(
        nullIf({{a:langfuse.observation.model.name}}, ''),
        nullIf({{a:gen_ai.response.model}}, ''),
        nullIf({{a:gen_ai.request.model}}, ''),
        nullIf({{a:llm.model_name}}, ''),
        nullIf({{a:ai.model.id}}, ''),
        nullIf({{a:llm.response.model}}, ''),
        ''
    ) AS model,
    toFloat64OrZero(coalesce(
        nullIf({{a:gen_ai.usage.input_tokens}}, ''),
        nullIf({{a:gen_ai.usage.prompt_tokens}}, ''),
        nullIf({{a:llm.token_count.prompt}}, ''),
        nullIf({{a:ai.usage.promptTokens}}, ''),
        nullIf({{a:ai.usage.inputTokens}}, ''),
        nullIf({{a:lk.metrics.prompt_tokens}}, ''),
        nullIf(JSONExtractRaw({{a:langfuse.observation.usage_details}}, 'input'), ''),
        ''
    )) AS input_tokens,
    toFloat64OrZero(coalesce(
        nullIf({{a:gen_ai.usage.output_tokens}}, ''),
        nullIf({{a:gen_ai.usage.completion_tokens}}, ''),
        nullIf({{a:llm.token_count.completion}}, ''),
        nullIf({{a:ai.usage.completionTokens}}, ''),
        nullIf({{a:ai.usage.outputTokens}}, ''),
        nullIf({{a:lk.metrics.completion_tokens}}, ''),
        nullIf(JSONExtractRaw({{a:langfuse.observation.usage_details}}, 'output'), ''),
        ''
    )) AS output_tokens,
    toFloat64OrNull(coalesce(
        nullIf({{a:gen_ai.usage.cost}}, ''),
        nullIf({{a:llm.cost.total}}, ''),
        nullIf({{a:operation.cost}}, ''),
        nullIf(JSONExtractRaw({{a:langfuse.observation.cost_details}}, 'total'), ''),
        ''
    )) AS cost,
    coalesce(
        nullIf({{a:user.id}}, ''),
        nullIf({{a:langfuse.user.id}}, ''),
        nullIf({{a:enduser.id}}, ''),
        nullIf({{a:ai.telemetry.metadata.userId}}, ''),
        nullIf({{a:traceloop.association.properties.user_id}}, ''),
        nullIf({{a:langsmith.metadata.user_id}}, ''),
        ''
    ) AS user,
    coalesce(
        nullIf({{a:session.id}}, ''),
        nullIf({{a:langfuse.session.id}}, ''),
        nullIf({{a:gen_ai.conversation.id}}, ''),
        nullIf({{a:ai.telemetry.metadata.sessionId}}, ''),
        nullIf({{a:traceloop.association.properties.session_id}}, ''),
        nullIf({{a:langsmith.metadata.session_id}}, ''),
        nullIf({{a:langsmith.metadata.thread_id}}, ''),
        ''
    ) AS session
