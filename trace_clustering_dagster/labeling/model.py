"""Ask a chat model, through the OpenAI API, for the labels; a failure is an answer too."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import openai
from pydantic import BaseModel

TIMEOUT_SECONDS = 60.0
# The client itself retries what a retry can mend: 408, 409, 429, 5xx, lost connections.
MAX_RETRIES = 2


class Label(BaseModel):
    """What the model says of one cluster."""

    cluster_id: int
    title: str
    description: str


class Labels(BaseModel):
    """The structured output that the model is asked for."""

    clusters: list[Label]


@dataclass(frozen=True)
class ModelAnswer:
    """The usable labels (title, description) by cluster id, and why there are no others.

    ``failure`` is one line without secrets, "" if the model answered.
    """

    labels: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    failure: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


def ask_model(messages: Sequence[Mapping[str, str]], model: str) -> ModelAnswer:
    """Send the prompt and read the labels. Never raises for what a server or its settings can do
    wrong: the run goes on without the model."""
    try:
        return _ask(messages, model)
    except openai.APIStatusError as error:
        # the message of a 401 repeats part of the key
        return ModelAnswer(failure=f"{type(error).__name__}: HTTP status {error.status_code}")
    except Exception as error:
        # besides the client's own errors, servers answer with JSON of any shape, and proxy and
        # certificate settings fail in their own ways: whatever it is, the labels can do without
        return ModelAnswer(failure=type(error).__name__)


def _ask(messages: Sequence[Mapping[str, str]], model: str) -> ModelAnswer:
    client = openai.OpenAI(
        # a server of one's own often needs no key, but the client insists on one
        api_key=os.environ.get("OPENAI_API_KEY") or "none",
        timeout=TIMEOUT_SECONDS,
        max_retries=MAX_RETRIES,
    )
    completion = client.chat.completions.parse(
        model=model,
        messages=list(messages),  # type: ignore[arg-type]
        response_format=Labels,
        temperature=0,
    )
    parsed = completion.choices[0].message.parsed if completion.choices else None
    usage = completion.usage
    return ModelAnswer(
        labels=_usable(parsed.clusters if parsed else []),
        failure="" if parsed else "the model refused or answered nothing",
        prompt_tokens=int(usage.prompt_tokens or 0) if usage else 0,
        completion_tokens=int(usage.completion_tokens or 0) if usage else 0,
    )


def _usable(labels: Sequence[Label]) -> dict[int, tuple[str, str]]:
    usable: dict[int, tuple[str, str]] = {}
    for label in labels:
        title, description = (" ".join(text.split()) for text in (label.title, label.description))
        if title:
            usable.setdefault(label.cluster_id, (title, description))
    return usable
