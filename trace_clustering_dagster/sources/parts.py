"""What a part of a message is: text, a call, its result, reasoning, or media."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trace_clustering_dagster.sources.texts import clean, dump

Object = Mapping[str, Any]
Part = Literal["text", "call", "result", "reasoning", "media"]

_TYPES: dict[Part, str] = {
    "text": "text input_text output_text summary_text refusal json content error-text error-json",
    "call": "function tool_use tool-call tool_call function_call custom_tool_call mcp_call "
    "server_tool_call server_tool_use",
    "result": "tool_result tool-result tool_call_response function_call_output tool-return "
    "custom_tool_call_output server_tool_call_response web_search_tool_result",
    "reasoning": "reasoning thinking redacted_thinking",
    "media": "image image_url input_image audio input_audio file input_file document video "
    "blob uri",
}
_PART_OF_TYPE: dict[str, Part] = {
    name: part for part, names in _TYPES.items() for name in names.split()
}
# Gemini and Bedrock name a part by its key
_PART_OF_KEY: dict[str, Part] = {
    "functionCall": "call",
    "toolUse": "call",
    "tool_call": "call",
    "functionResponse": "result",
    "toolResult": "result",
    "inlineData": "media",
    "inline_data": "media",
    "fileData": "media",
    "reasoningContent": "reasoning",
}
_CALLEES = ("function", "functionCall", "tool_call", "toolUse")
_NAMES = ("name", "toolName", "tool_name")
_ARGUMENTS = ("arguments", "args", "input", "parameters", "server_tool_call")
_RESPONSES = ("functionResponse", "toolResult")
_RESULTS = ("content", "response", "result", "output", "value", "server_tool_call_response")
_MEDIA_NAME = re.compile(r"input_|_url")


@dataclass(frozen=True)
class Call:
    """A call of a tool in a message; the arguments are JSON or text, as the model gave them."""

    name: str
    arguments: str


def first(value: Object, keys: Iterable[str]) -> Any:
    """The first value of the keys that is not empty; None if all are."""
    return next((value[key] for key in keys if value.get(key) not in (None, "", [], {})), None)


def part_of(value: Object) -> Part | None:
    """What part of a message the object is; None if it is none."""
    if "role" in value:
        return None
    name = value.get("type") or value.get("part_kind")
    if name == "function" and not isinstance(value.get("function"), Mapping):
        return None
    if isinstance(name, str) and name in _PART_OF_TYPE:
        return _PART_OF_TYPE[name]
    if value.keys() == {"text"}:
        return "text"
    if value.get("thought") is True:  # Gemini
        return "reasoning"
    if "toolName" in value:  # Vercel before 5
        return "call"
    named = (part for key, part in _PART_OF_KEY.items() if isinstance(value.get(key), Mapping))
    return next(named, None)


def call_of(value: Object) -> Call:
    """The call in a part, or in an item of a list of calls."""
    callee = value
    for _ in range(3):
        callee = next((callee[k] for k in _CALLEES if isinstance(callee.get(k), Mapping)), callee)
    holders = (callee, value)
    arguments = next(filter(None, (first(holder, _ARGUMENTS) for holder in holders)), "")
    return Call(
        _first_str(holders, _NAMES) or "tool",
        clean(arguments) if isinstance(arguments, str) else dump(arguments),
    )


def result_of(value: Object) -> Any:
    """What the tool returned, in a part that is a result."""
    holders = (value[key] for key in _RESPONSES if isinstance(value.get(key), Mapping))
    return first(next(holders, value), _RESULTS)


def media_of(value: Object) -> str:
    """A mark such as ``[image]``."""
    name = _first_str((value,), ("modality", "type")) or "media"
    return f"[{_MEDIA_NAME.sub('', name)[:20]}]"


def _first_str(holders: Iterable[Object], keys: Iterable[str]) -> str:
    names = (holder.get(key) for key in keys for holder in holders)
    return next((clean(name) for name in names if isinstance(name, str) and name), "")
