"""Traces as OpenTelemetry spans, in the attributes of two instrumentations.

``gen_ai`` follows OpenTelemetry's conventions for generative AI, 1.37, with content captured;
``openinference`` follows OpenInference, which Arize Phoenix reads.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trace_clustering_dagster.demo.conversations import Message, Step, ToolCall, Trace, dump

Attributes = Mapping[str, str]


@dataclass(frozen=True)
class Span:
    """A span of a trace. Times are nanoseconds since midnight; the root has no parent."""

    span_id: str
    parent_id: str
    name: str
    kind: str
    start: int
    duration: int
    attributes: Attributes
    error: tuple[str, str] | None


@dataclass(frozen=True)
class Scope:
    """What is the same in all spans of an application."""

    resource: Attributes
    name: str
    version: str


def scope_of(trace: Trace) -> Scope:
    """The resource of the trace's service and the instrumentation that makes its spans."""
    service = trace.application.service
    resource = {
        "service.name": service,
        "service.version": "1.8.2",
        "deployment.environment.name": "production",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
    }
    if trace.application.dialect == "gen_ai":
        return Scope(resource, "opentelemetry.instrumentation.openai_v2", "2.2b0")
    resource["openinference.project.name"] = service
    return Scope(resource, "openinference.instrumentation.openai", "0.1.34")


def spans_of(trace: Trace) -> Iterator[Span]:
    """The root span of the agent, then its steps in the order of time."""
    dialect = DIALECTS[trace.application.dialect](trace)
    name, attributes = dialect.agent()
    yield Span(
        trace.root_id, "", name, "Internal", trace.start, trace.end - trace.start, attributes, None
    )
    for step in trace.steps:
        name, attributes = dialect.tool(step, step.call) if step.call else dialect.generation(step)
        if step.error:
            attributes["error.type"] = step.error[0]
        kind = "Internal" if step.call else "Client"
        yield Span(
            step.span_id,
            trace.root_id,
            name,
            kind,
            step.start,
            step.duration,
            attributes,
            step.error,
        )


class GenAI:
    """OpenTelemetry's own conventions."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._common = {"gen_ai.conversation.id": trace.session, "user.id": trace.user}
        self._messages = [
            f'{{"role":"{message.role}","parts":[{",".join(_parts(message))}]}}'
            for message in trace.messages
        ]
        self._system = dump([{"type": "text", "content": trace.application.system}])

    def agent(self) -> tuple[str, dict[str, str]]:
        name = self._trace.application.service
        attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": name,
            "gen_ai.provider.name": self._trace.model.provider,
            **self._common,
        }
        return f"invoke_agent {name}", attributes

    def generation(self, step: Step) -> tuple[str, dict[str, str]]:
        model = self._trace.model
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": model.provider,
            "gen_ai.request.model": model.name,
            "gen_ai.system_instructions": self._system,
            "gen_ai.input.messages": f"[{','.join(self._messages[: step.reads])}]",
            **self._common,
        }
        if not step.error:
            reason = "tool_call" if self._trace.messages[step.reads].calls else "stop"
            answer = f'{self._messages[step.reads][:-1]},"finish_reason":"{reason}"}}'
            attributes |= {
                "gen_ai.response.model": model.name,
                "gen_ai.response.finish_reasons": f'["{reason}"]',
                "gen_ai.output.messages": f"[{answer}]",
                "gen_ai.usage.input_tokens": str(step.input_tokens),
                "gen_ai.usage.output_tokens": str(step.output_tokens),
                "gen_ai.usage.cost": f"{step.cost:.7f}",
            }
        return f"chat {model.name}", attributes

    def tool(self, step: Step, call: ToolCall) -> tuple[str, dict[str, str]]:
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.name,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": call.id,
            "gen_ai.tool.call.arguments": call.arguments,
            **self._common,
        }
        if not step.error:
            attributes["gen_ai.tool.call.result"] = self._trace.messages[step.reads].text
        return f"execute_tool {call.name}", attributes


def _parts(message: Message) -> Iterator[str]:
    # written by hand: an encoder takes several times as long for such small objects
    text = dump(message.text)
    if message.role == "tool":
        yield f'{{"type":"tool_call_response","id":"{message.call_id}","response":{text}}}'
    elif message.text:
        yield f'{{"type":"text","content":{text}}}'
    for call in message.calls:
        fields = f'"id":"{call.id}","name":"{call.name}","arguments":{call.arguments}'
        yield f'{{"type":"tool_call",{fields}}}'


class OpenInference:
    """OpenInference's conventions: messages are flattened into attributes."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._common = {"session.id": trace.session, "user.id": trace.user}
        self._messages = [
            Message("system", trace.application.system),
            *trace.messages,
        ]

    def agent(self) -> tuple[str, dict[str, str]]:
        texts = [message.text for message in self._trace.messages]
        name = self._trace.application.service
        attributes = {
            "openinference.span.kind": "AGENT",
            "agent.name": name,
            "input.value": texts[0],
            "input.mime_type": "text/plain",
            "output.value": texts[-1],
            "output.mime_type": "text/plain",
            **self._common,
        }
        return name, attributes

    def generation(self, step: Step) -> tuple[str, dict[str, str]]:
        attributes = {
            "openinference.span.kind": "LLM",
            "llm.provider": self._trace.model.provider,
            "llm.model_name": self._trace.model.name,
            **self._common,
        }
        reads = step.reads + 1  # and the system's message
        for index, message in enumerate(self._messages[:reads]):
            attributes |= _flat(f"llm.input_messages.{index}.message", message)
        if not step.error:
            attributes |= _flat("llm.output_messages.0.message", self._messages[reads])
            attributes |= {
                "llm.token_count.prompt": str(step.input_tokens),
                "llm.token_count.completion": str(step.output_tokens),
                "llm.token_count.total": str(step.input_tokens + step.output_tokens),
                "llm.cost.total": f"{step.cost:.7f}",
            }
        return "ChatCompletion", attributes

    def tool(self, step: Step, call: ToolCall) -> tuple[str, dict[str, str]]:
        attributes = {
            "openinference.span.kind": "TOOL",
            "tool.name": call.name,
            "input.value": call.arguments,
            "input.mime_type": "application/json",
            **self._common,
        }
        if not step.error:
            attributes["output.value"] = self._trace.messages[step.reads].text
            attributes["output.mime_type"] = "application/json"
        return call.name, attributes


def _flat(prefix: str, message: Message) -> dict[str, str]:
    attributes = {f"{prefix}.role": message.role}
    if message.text:
        attributes[f"{prefix}.content"] = message.text
    if message.call_id:
        attributes[f"{prefix}.tool_call_id"] = message.call_id
    for index, call in enumerate(message.calls):
        key = f"{prefix}.tool_calls.{index}.tool_call"
        attributes[f"{key}.id"] = call.id
        attributes[f"{key}.function.name"] = call.name
        attributes[f"{key}.function.arguments"] = call.arguments
    return attributes


DIALECTS: Mapping[str, type[GenAI] | type[OpenInference]] = {
    "gen_ai": GenAI,
    "openinference": OpenInference,
}
