"""One conversation in every dialect that libraries write."""

import json
from typing import Any

ARGUMENTS = {"city": "Oslo"}


def dialects(user: str, result: str, arguments: dict[str, Any] | None = None) -> dict[str, str]:
    """Values in which somebody says ``user``, the model calls ``f`` with the arguments, and the
    tool returns ``result``, by dialect."""
    arguments = ARGUMENTS if arguments is None else arguments
    quoted = json.dumps(arguments)
    openai_call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": quoted}}
    openai = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": user},
        {"role": "assistant", "content": None, "tool_calls": [openai_call]},
        {"role": "tool", "tool_call_id": "1", "content": result},
    ]
    events: list[tuple[str, dict[str, str]]] = [
        ("gen_ai.system.message", {"content": "be kind"}),
        ("gen_ai.user.message", {"content": user}),
        ("gen_ai.assistant.message", {"content": "", "tool_calls": json.dumps([openai_call])}),
        ("gen_ai.tool.message", {"content": result, "id": "1"}),
    ]
    otel = [
        {"role": "user", "parts": [{"type": "text", "content": user}]},
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "hm"},
                {"type": "tool_call", "id": "1", "name": "f", "arguments": arguments},
            ],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "1", "response": result}]},
    ]
    langchain = [
        _constructed("HumanMessage", {"content": user, "type": "human"}),
        _constructed(
            "AIMessage",
            {
                "content": [{"type": "tool_use", "id": "1", "name": "f", "input": arguments}],
                "tool_calls": [{"name": "f", "args": arguments, "id": "1"}],
            },
        ),
        _constructed("ToolMessage", {"content": result, "tool_call_id": "1"}),
    ]
    openinference_call = "llm.input_messages.1.message.tool_calls.0.tool_call.function"
    values: dict[str, Any] = {
        "openai chat": openai,
        "openai request": {"model": "m", "messages": openai},
        "openai legacy": [
            {"role": "user", "content": user},
            {
                "role": "assistant",
                "content": None,
                "function_call": {"name": "f", "arguments": quoted},
            },
            {"role": "function", "name": "f", "content": result},
        ],
        "responses": {
            "instructions": "be kind",
            "input": [
                {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": user}],
                },
                {"type": "reasoning", "summary": []},
                {"type": "function_call", "name": "f", "arguments": quoted, "call_id": "c"},
                {"type": "function_call_output", "call_id": "c", "output": result},
            ],
        },
        "anthropic": [
            {"role": "user", "content": user},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "..."},
                    {"type": "tool_use", "id": "t", "name": "f", "input": arguments},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t",
                        "content": [{"type": "text", "text": result}],
                    }
                ],
            },
        ],
        "vercel": {
            "system": "be kind",
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": user}]},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "tool-call", "toolCallId": "1", "toolName": "f", "args": arguments}
                    ],
                },
                {
                    "role": "tool",
                    "content": [
                        {
                            "type": "tool-result",
                            "toolName": "f",
                            "output": {"type": "text", "value": result},
                        }
                    ],
                },
            ],
        },
        "otel parts": otel,
        "otel events": events,
        "otel details": [
            [
                "gen_ai.client.inference.operation.details",
                {
                    "gen_ai.system_instructions": '[{"type": "text", "content": "be kind"}]',
                    "gen_ai.input.messages": json.dumps(otel[:1]),
                    "gen_ai.output.messages": json.dumps(otel[1:]),
                },
            ]
        ],
        "logfire": [{"event.name": name} | attributes for name, attributes in events],
        "pydantic ai": [
            {
                "kind": "request",
                "parts": [
                    {"part_kind": "system-prompt", "content": "be kind"},
                    {"part_kind": "user-prompt", "content": user},
                ],
            },
            {
                "kind": "response",
                "parts": [{"part_kind": "tool-call", "tool_name": "f", "args": quoted}],
            },
            {
                "kind": "request",
                "parts": [{"part_kind": "tool-return", "tool_name": "f", "content": result}],
            },
        ],
        "traceloop": {
            "gen_ai.prompt.0.role": "user",
            "gen_ai.prompt.0.content": json.dumps([{"type": "text", "text": user}]),
            "gen_ai.prompt.1.role": "assistant",
            "gen_ai.prompt.1.tool_calls.0.name": "f",
            "gen_ai.prompt.1.tool_calls.0.arguments": quoted,
            "gen_ai.prompt.2.role": "tool",
            "gen_ai.prompt.2.content": result,
        },
        # the same attributes in a column of type JSON
        "traceloop nested": {
            "0": {"role": "user", "content": user},
            "1": {"role": "assistant", "tool_calls": {"0": {"name": "f", "arguments": quoted}}},
            "2": {"role": "tool", "content": result},
        },
        "openinference": {
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.contents.0.message_content.type": "text",
            "llm.input_messages.0.message.contents.0.message_content.text": user,
            "llm.input_messages.1.message.role": "assistant",
            f"{openinference_call}.name": "f",
            f"{openinference_call}.arguments": quoted,
            "llm.input_messages.2.message.role": "tool",
            "llm.input_messages.2.message.content": result,
        },
        "gemini": {
            "systemInstruction": {"parts": [{"text": "be kind"}]},
            "contents": [
                {"role": "user", "parts": [{"text": user}]},
                {
                    "role": "model",
                    "parts": [
                        {"text": "hm", "thought": True},
                        {"functionCall": {"name": "f", "args": arguments}},
                    ],
                },
                {
                    "role": "user",
                    "parts": [{"functionResponse": {"name": "f", "response": {"content": result}}}],
                },
            ],
        },
        "bedrock": [
            {"role": "user", "content": [{"text": user}]},
            {"role": "assistant", "content": [{"toolUse": {"name": "f", "input": arguments}}]},
            {"role": "user", "content": [{"toolResult": {"content": [{"text": result}]}}]},
        ],
        "langchain": {"messages": [langchain]},
        "langchain prompt": _constructed("ChatPromptValue", {"messages": langchain}),
        "langchain short": [
            {"type": "human", "content": user},
            {"type": "ai", "content": "", "tool_calls": [{"name": "f", "args": arguments}]},
            {"type": "tool", "content": result},
        ],
        "langchain data": [
            {"type": "human", "data": {"content": user}},
            {
                "type": "ai",
                "data": {"content": "", "tool_calls": [{"name": "f", "args": arguments}]},
            },
            {"type": "tool", "data": {"content": result}},
        ],
    }
    quoted_values = {dialect: json.dumps(value) for dialect, value in values.items()}
    return quoted_values | {
        "python": repr(openai),
        "json in json": json.dumps(json.dumps(openai)),
    }


def _constructed(name: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    return {
        "lc": 1,
        "type": "constructor",
        "id": ["langchain", "schema", "messages", name],
        "kwargs": kwargs,
    }
