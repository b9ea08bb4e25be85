"""Read the messages of a step, whichever library has written them.

Each dialect is one of a few shapes (`_SHAPES`): an event, a numbered mapping, a serialized object,
an envelope, a part of a message, a message, an exchange of requests and responses. A shape knows
its marks and yields messages. Values in it are read the same way, down to `_MAX_DEPTH`.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trace_clustering_dagster.sources.parsing import is_cut, parse
from trace_clustering_dagster.sources.parts import (
    Call,
    Object,
    call_of,
    first,
    media_of,
    part_of,
    result_of,
)
from trace_clustering_dagster.sources.texts import clean, dump

Role = Literal["system", "user", "assistant", "tool"]

# No dialect nests deeper than 12.
_MAX_DEPTH = 24


@dataclass(frozen=True)
class Message:
    """What one role says.

    Attributes:
        role: Who speaks. Only assistants call tools; the tool's result has the role ``tool``.
        text: Without reasoning; images and other media are marks such as ``[image]``. It may hold
            `parsing.CUT`, where its middle is missing.
        calls: The tools that the message calls.
        cut_off: Whether the end of the text, or of the last arguments, is missing.
    """

    role: Role
    text: str
    calls: tuple[Call, ...] = ()
    cut_off: bool = False


def read_messages(value: str, role: Role = "user") -> list[Message]:
    """The messages of a stored input or output of any shape; never raises.

    Args:
        value: JSON of a known dialect, whole or cut, or any other text.
        role: Who speaks where the value does not say it: ``user`` for inputs, ``assistant`` for
            outputs of models, ``tool`` for outputs of tools.
    """
    parsed = parse(value)
    content = parsed.value
    if isinstance(content, Mapping) and not (_shape_of(content, role) or _is_empty(content)):
        content = parsed.text  # as it is written
    messages = [m for m in _read(content, role, _MAX_DEPTH) if m.text or m.calls]
    if parsed.cut_off and messages:
        messages[-1] = dataclasses.replace(messages[-1], cut_off=True)
    return messages


# --- values ---

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "chatbot": "assistant",
    "tool": "tool",
    "function": "tool",
    "ipython": "tool",
    # parts of Pydantic AI
    "system-prompt": "system",
    "user-prompt": "user",
    # events of OpenTelemetry
    "choice": "assistant",
}
_CLASS = re.compile(r"(\w+?)Message(?:Chunk)?\Z")


def _read(value: Any, role: Role, depth: int) -> Iterator[Message]:
    if depth <= 0 or value is None:
        return
    if isinstance(value, str):
        yield from _read_text(value, role, depth)
    elif isinstance(value, Mapping):
        yield from _read_object(value, role, depth)
    elif isinstance(value, list):
        yield from _read_list(value, role, depth)
    else:
        yield Message(role, dump(value))


def _read_text(text: str, role: Role, depth: int) -> Iterator[Message]:
    # parts of a message are often stored as JSON in its content
    if text.lstrip().startswith(('[{"', "[{'", '{"lc"', '{"role"')):
        items = _items(text)
        if items and all(isinstance(item, Mapping) and _is_structured(item) for item in items):
            yield from _read(items, role, depth - 1)
            return
    if text := clean(text):
        yield Message(role, text)


def _read_list(items: list[Any], role: Role, depth: int) -> Iterator[Message]:
    if len(items) == 2 and isinstance(items[0], str) and items[0].startswith("gen_ai."):
        if isinstance(items[1], Mapping):
            yield from _read_event({"event.name": items[0], **items[1]}, role, depth)
        return
    if not any(isinstance(item, str | Mapping | list) for item in items):
        numbers = [item for item in items if item is not None]
        if numbers:
            yield Message(role, dump(numbers))
        return
    if any(isinstance(item, Mapping) and "role" in item for item in items):
        items = [item for item in items if not _has_lost_its_role(item)]
    messages = (message for item in items for message in _read(item, role, depth - 1))
    in_parts = all(isinstance(item, Mapping) and part_of(item) for item in items)
    yield from _joined(messages, role) if in_parts else messages


def _read_object(value: Object, role: Role, depth: int) -> Iterator[Message]:
    if read := _shape_of(value, role):
        yield from read(value, role, depth)
    elif not _is_empty(value):
        yield Message(role, dump(value))


def _is_empty(value: Object) -> bool:
    return first(value, value) is None


def _shape_of(value: Object, role: Role) -> "Reader | None":
    read = next((read for matches, read in _SHAPES if matches(value)), None)
    # what a tool returns is data
    return None if read is _read_exchange and role == "tool" else read


def _role(value: Object, default: Role) -> Role:
    if value.get("kind") == "response":  # Pydantic AI
        return "assistant"
    names = (value.get(key) for key in ("role", "type", "part_kind"))
    known = (_ROLES.get(name.lower()) for name in names if isinstance(name, str))
    return next(filter(None, known), default)


def _decoded(value: Any) -> Any:
    return parse(value).value if isinstance(value, str) else value


def _items(value: Any) -> list[Any]:
    """The items of a list, also if it is JSON text or a mapping of numbers; else the value."""
    value = _decoded(value)
    if isinstance(value, list):
        return value
    if isinstance(value, Mapping) and _is_numbered(value):
        return [item for _, item in sorted(value.items(), key=lambda pair: int(pair[0]))]
    return [] if value in (None, "", {}) else [value]


def _joined(pieces: Iterable[Message], role: Role) -> Iterator[Message]:
    """Pieces of one message as a message, and each result of a tool in it as one of its own."""
    last: Message | None = None
    for piece in pieces:
        if last and piece.role == last.role and (piece.role != "tool" or role == "tool"):
            text = "\n".join(filter(None, (last.text, piece.text)))
            last = Message(piece.role, text, last.calls + piece.calls)
            continue
        if last:
            yield last
        last = piece
    if last:
        yield last


# --- attributes with dots: gen_ai.prompt.0.role, llm.input_messages.0.message.content ---

_FLAT = re.compile(r"(?:gen_ai|llm|ai|retrieval)\.")
_MAX_PATH = 10


def _is_flat(value: Object) -> bool:
    return any(map(_FLAT.match, value))


def _read_flat(value: Object, role: Role, depth: int) -> Iterator[Message]:
    yield from _read_object(_nested(value), role, depth - 1)


def _nested(flat: Object) -> Object:
    root: dict[str, Any] = {}
    for key, value in flat.items():
        *path, leaf = key.split(".", _MAX_PATH)
        node = root
        for name in path:
            if not isinstance(node.get(name), dict):
                node[name] = {}
            node = node[name]
        if not isinstance(node.get(leaf), dict):
            node[leaf] = value
    return root


def _is_numbered(value: Object) -> bool:
    return bool(value) and all(key.isdecimal() and len(key) < 10 for key in value)


def _read_numbered(value: Object, role: Role, depth: int) -> Iterator[Message]:
    yield from _read_list(_items(value), role, depth)


# --- events of OpenTelemetry and Logfire ---


def _read_event(event: Object, role: Role, depth: int) -> Iterator[Message]:
    name = str(event["event.name"])
    attributes = {key: value for key, value in event.items() if key != "event.name"}
    role = _ROLES.get(name.removeprefix("gen_ai.").split(".")[0], role)
    message = _decoded(attributes.get("message"))
    yield from _read(message or attributes, role, depth - 1)


# --- LangChain's serialized objects ---


def _is_serialized(value: Object) -> bool:
    return isinstance(value.get("kwargs"), Mapping) and isinstance(value.get("id"), list)


def _read_serialized(value: Object, role: Role, depth: int) -> Iterator[Message]:
    named = _CLASS.match(str(value["id"][-1])) if value["id"] else None
    role = _ROLES.get(named[1].lower(), role) if named else role
    yield from _read(value["kwargs"], role, depth - 1)


# --- envelopes ---

_ENVELOPES = ("message", "message_content", "delta", "gen_ai", "llm", "ai", "retrieval")


def _envelope(value: Object) -> Any:
    return next((value[key] for key in _ENVELOPES if isinstance(value.get(key), Mapping)), None)


def _is_envelope(value: Object) -> bool:
    return "role" not in value and _envelope(value) is not None


def _read_envelope(value: Object, role: Role, depth: int) -> Iterator[Message]:
    yield from _read(_envelope(value), _role(value, role), depth - 1)


# --- parts of a message ---


def _read_part(value: Object, role: Role, depth: int) -> Iterator[Message]:
    part = part_of(value)
    if part == "call":
        yield Message("assistant", "", (call_of(value),))
    elif part == "result":
        results = _read(result_of(value), "tool", depth - 1)
        if text := "\n".join(message.text for message in results if message.text):
            yield Message("tool", text)
    elif part == "media":
        yield Message(role, media_of(value))
    elif part == "text":
        yield from _read(first(value, ("text", "content", "value", "refusal")), role, depth - 1)


# --- messages ---

_CONTENTS = ("content", "contents", "parts", "text", "object", "refusal", "data")
_CALL_LISTS = ("tool_calls", "toolCalls", "function_call")
_MESSAGE_MARKS = {"role", "content", "parts", "tool_calls", "toolCalls"}


def _is_message(value: Object) -> bool:
    kind = value.get("type")
    return not _MESSAGE_MARKS.isdisjoint(value) or (isinstance(kind, str) and kind in _ROLES)


def _has_lost_its_role(value: Any) -> bool:
    """Whether it is the beginning of a message, cut before or where it says whose."""
    if not isinstance(value, Mapping) or part_of(value) or not _is_message(value):
        return False
    return is_cut(str(value.get("role", ""))) or not {"role", "type"} & value.keys()


def _is_structured(value: Object) -> bool:
    """Whether text that is JSON is meant as messages or as parts, not quoted by somebody."""
    return bool(part_of(value)) or (_is_message(value) and "role" in value) or "lc" in value


def _read_message(value: Object, role: Role, depth: int) -> Iterator[Message]:
    role = _role(value, role)
    yield from _joined(_pieces(value, role, depth - 1), role)


def _pieces(value: Object, role: Role, depth: int) -> Iterator[Message]:
    pieces = list(_read(first(value, _CONTENTS), role, depth))
    yield from pieces
    # some libraries repeat the calls that are among the parts
    if any(piece.calls for piece in pieces):
        return
    more = value.get("additional_kwargs")
    for holder in (value, more if isinstance(more, Mapping) else {}):
        calls = [call for call in _items(first(holder, _CALL_LISTS)) if isinstance(call, Mapping)]
        if calls:
            yield Message("assistant", "", tuple(map(call_of, calls)))
            return


# --- exchanges: what was asked, what was answered ---

_INSTRUCTIONS, _REQUESTS, _RESPONSES, _OTHER = (
    tuple(names.split())
    for names in (
        "system system_instructions system_instruction systemInstruction instructions",
        "messages contents input_messages events question query input inputs prompt user_input "
        "task request args kwargs",
        "choices candidates output_messages completion generations output outputs answer "
        "response result",
        "message text document documents page_content pageContent data",
    )
)


def _read_exchange(value: Object, role: Role, depth: int) -> Iterator[Message]:
    request, response = _first_of(value, _REQUESTS), _first_of(value, _RESPONSES)
    both = request is not None and response is not None
    texts: tuple[tuple[Any, Role], ...] = (
        (_first_of(value, _INSTRUCTIONS), "system"),
        (request, "user" if both else role),
        (response, "assistant" if both else role),
        (_first_of(value, _OTHER) if request is response is None else None, role),
    )
    for text, speaker in texts:
        yield from _read(_decoded(text), speaker, depth - 1)


def _first_of(value: Object, keys: Iterable[str]) -> Any:
    return first({k: value[k] for k in keys if isinstance(value.get(k), str | list | dict)}, keys)


def _is_exchange(value: Object) -> bool:
    return any(_first_of(value, keys) is not None for keys in (_REQUESTS, _RESPONSES, _OTHER))


Reader = Callable[[Object, Role, int], Iterator[Message]]
_SHAPES: tuple[tuple[Callable[[Object], bool], Reader], ...] = (
    (lambda value: isinstance(value.get("event.name"), str), _read_event),
    (_is_flat, _read_flat),
    (_is_numbered, _read_numbered),
    (_is_serialized, _read_serialized),
    (_is_envelope, _read_envelope),
    (lambda value: part_of(value) is not None, _read_part),
    (_is_message, _read_message),
    (_is_exchange, _read_exchange),
)
