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
    coalesce(
        nullIf({{one_of:
            langfuse.observation.type,
            openinference.span.kind,
            gen_ai.operation.name,
            genkit:metadata:subtype,
            genkit:type,
            ai.operationId,
            traceloop.span.kind,
            langsmith.span.kind
        }}, ''),
        multiIf(
            {{a:mlflow.spanType}} != '', trim(BOTH '"' FROM {{a:mlflow.spanType}}),
            {{a:llm.request.type}} != '', {{a:llm.request.type}},
            {{one_of:gen_ai.tool.name, lk.function_tool.name, gcp.vertex.agent.tool_call_args}} != '',
            'tool',
            {{one_of:gen_ai.request.model, gcp.vertex.agent.llm_request, lk.response.text}} != '',
            'generation',
            ''
        )
    ) AS raw_kind,
    {{one_of:
        gen_ai.tool.name,
        tool.name,
        ai.toolCall.name,
        lk.function_tool.name,
        gen_ai.agent.name,
        agent.name,
        agent_name,
        traceloop.entity.name,
        genkit:name
    }} AS entity,
    coalesce(
        nullIf({{one_of:
            langfuse.observation.input,
            gen_ai.input.messages,
            gen_ai.tool.call.arguments,
            gen_ai.retrieval.query.text,
            ai.prompt.messages,
            ai.prompt,
            ai.toolCall.args,
            input.value,
            traceloop.entity.input,
            mlflow.spanInputs,
            gcp.vertex.agent.llm_request,
            gcp.vertex.agent.tool_call_args,
            genkit:input,
            lk.input_text,
            lk.chat_ctx,
            lk.function_tool.arguments,
            tool_arguments,
            pydantic_ai.all_messages,
            all_messages_events,
            events,
            request_data,
            gen_ai.prompt,
            langfuse.trace.input
        }}, ''),
        nullIf({{flat:gen_ai.prompt}}, '{}'),
        nullIf({{flat:llm.input_messages}}, '{}'),
        nullIf({{event:gen_ai.client.inference.operation.details/gen_ai.input.messages}}, ''),
        nullIf({{events:gen_ai.system.message, gen_ai.user.message, gen_ai.assistant.message, gen_ai.tool.message}}, '[]'),
        ''
    ) AS input,
    coalesce(
        nullIf({{one_of:
            langfuse.observation.output,
            gen_ai.output.messages,
            gen_ai.tool.call.result,
            gen_ai.retrieval.documents
        }}, ''),
        -- Vercel's AI SDK: a text, calls of tools, or both
        if(
            {{a:ai.response.text}} != '' AND {{a:ai.response.toolCalls}} NOT IN ('', '[]'),
            concat(
                '[{"role":"assistant","content":', toJSONString({{a:ai.response.text}}),
                ',"tool_calls":', {{a:ai.response.toolCalls}}, '}]'
            ),
            NULL
        ),
        nullIf({{one_of:
            ai.response.text,
            ai.response.object,
            ai.response.toolCalls,
            ai.result.text,
            ai.result.object,
            ai.result.toolCalls,
            ai.toolCall.result,
            output.value,
            traceloop.entity.output,
            mlflow.spanOutputs,
            gcp.vertex.agent.llm_response,
            gcp.vertex.agent.tool_response,
            genkit:output,
            lk.response.text,
            lk.function_tool.output,
            tool_response,
            final_result,
            response_data,
            gen_ai.completion,
            langfuse.trace.output
        }}, ''),
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
        {{one_of:langfuse.observation.status_message, error.type}}
    ) AS error,
    {{one_of:
        langfuse.observation.model.name,
        gen_ai.response.model,
        gen_ai.request.model,
        llm.model_name,
        ai.model.id,
        llm.response.model
    }} AS model,
    toFloat64OrZero(coalesce(
        nullIf({{one_of:
            gen_ai.usage.input_tokens,
            gen_ai.usage.prompt_tokens,
            llm.token_count.prompt,
            ai.usage.promptTokens,
            ai.usage.inputTokens,
            lk.metrics.prompt_tokens
        }}, ''),
        nullIf(JSONExtractRaw({{a:langfuse.observation.usage_details}}, 'input'), ''),
        ''
    )) AS input_tokens,
    toFloat64OrZero(coalesce(
        nullIf({{one_of:
            gen_ai.usage.output_tokens,
            gen_ai.usage.completion_tokens,
            llm.token_count.completion,
            ai.usage.completionTokens,
            ai.usage.outputTokens,
            lk.metrics.completion_tokens
        }}, ''),
        nullIf(JSONExtractRaw({{a:langfuse.observation.usage_details}}, 'output'), ''),
        ''
    )) AS output_tokens,
    toFloat64OrNull(coalesce(
        nullIf({{one_of:
            gen_ai.usage.cost,
            llm.cost.total,
            operation.cost
        }}, ''),
        nullIf(JSONExtractRaw({{a:langfuse.observation.cost_details}}, 'total'), ''),
        ''
    )) AS cost,
    {{one_of:
        user.id,
        langfuse.user.id,
        enduser.id,
        ai.telemetry.metadata.userId,
        traceloop.association.properties.user_id,
        langsmith.metadata.user_id
    }} AS user,
    {{one_of:
        session.id,
        langfuse.session.id,
        gen_ai.conversation.id,
        ai.telemetry.metadata.sessionId,
        traceloop.association.properties.session_id,
        langsmith.metadata.session_id,
        langsmith.metadata.thread_id
    }} AS session
