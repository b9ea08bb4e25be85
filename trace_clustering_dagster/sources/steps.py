"""A raw trace: the steps that every source is read as."""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal[
    "generation",
    "tool",
    "retriever",
    "agent",
    "embedding",
    "guardrail",
    "evaluator",
    "trace",
    "score",
    "span",
]

# The names of a step's kind in the stores, in lower case; any other name is a span.
KINDS: dict[str, Kind] = {
    "generation": "generation",
    "llm": "generation",
    "chat": "generation",
    "completion": "generation",
    "text_completion": "generation",
    "generate_content": "generation",
    "tool": "tool",
    "execute_tool": "tool",
    "ai.toolcall": "tool",
    "mcp_tools": "tool",
    "retriever": "retriever",
    "retrieval": "retriever",
    "reranker": "retriever",
    "agent": "agent",
    "invoke_agent": "agent",
    "create_agent": "agent",
    "handoff": "agent",
    "embedding": "embedding",
    "embeddings": "embedding",
    "ai.embed": "embedding",
    "ai.embedmany": "embedding",
    "trace": "trace",
    "score": "score",
    "guardrail": "guardrail",
    "evaluator": "evaluator",
}

# What libraries add to the name of a tool or an agent
_AFFIX = re.compile(r"\A(?:execute_tool|invoke_agent|tool)\s+|\.(?:tool|agent|task|workflow)\Z")


class Step(NamedTuple):
    """One step of a trace, a row of the common model.

    Attributes:
        step_id: Unique in its trace.
        parent_id: The step that it is part of; "" at the root.
        started, ended: UTC.
        is_error: Whether the step failed.
        is_score: Whether it is a score or feedback, which never moves the end of a trace.
        name: The store's name for the step.
        entity: The tool or agent; "" if unknown.
        raw_kind: The store's word for the kind.
        input, output, system, error: Text or JSON, as stored, perhaps cut in the middle.
        model: The language model; "" if none.
        input_tokens, output_tokens: Tokens; 0 if unknown.
        cost: US dollars; None if unknown.
        user, session: "" if unknown.
    """

    step_id: str
    parent_id: str
    started: datetime.datetime
    ended: datetime.datetime
    is_error: bool
    is_score: bool
    name: str
    entity: str
    raw_kind: str
    input: str
    output: str
    system: str
    error: str
    model: str
    input_tokens: int
    output_tokens: int
    cost: float | None
    user: str
    session: str

    @property
    def kind(self) -> Kind:
        """The kind, whatever the store calls it."""
        raw = self.raw_kind.lower()
        # Vercel's AI SDK: ai.generateText wraps ai.generateText.doGenerate, the call of the model
        if raw.startswith("ai.") and raw.split(" ")[0].endswith((".dogenerate", ".dostream")):
            return "generation"
        if raw.startswith("ai.") and raw.endswith(".doembed"):
            return "embedding"
        return KINDS.get(raw, "span")

    @property
    def label(self) -> str:
        """The tool or agent, else the name of the step."""
        return self.entity or _AFFIX.sub("", self.name)


@dataclass(frozen=True)
class RawTrace:
    """The steps of a trace, in the order of their start; a step id appears once."""

    trace_id: str
    steps: Sequence[Step]
