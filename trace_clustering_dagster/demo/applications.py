"""The applications that are traced: what their users want and say, and how their agents work.

The texts are in ``prose/``, for anyone to edit.
"""

from collections.abc import Mapping, Sequence
from configparser import ConfigParser, SectionProxy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

# Values for the names in braces: names that are drawn together, and their alternatives.
Words: TypeAlias = Mapping[tuple[str, ...], Sequence[tuple[str, ...]]]
Fields: TypeAlias = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Intent:
    """What a user wants. The texts are templates over the words of the application."""

    name: str  # in no trace
    traces: float  # mean number a day, before any story
    tools: Sequence[str]  # in the order of their calls; the last one is always called
    asks: Sequence[str]
    details: Sequence[str]
    answers: Sequence[str]


@dataclass(frozen=True)
class Tool:
    """What a tool takes and returns: names and templates."""

    arguments: Fields
    result: Fields


@dataclass(frozen=True)
class Model:
    """A language model and its price in US dollars per million tokens."""

    name: str
    provider: str
    input_price: float
    output_price: float
    share: float  # of the traces


@dataclass(frozen=True)
class Application:
    """The application of one team."""

    service: str
    dialect: Literal["gen_ai", "openinference"]
    models: Sequence[Model]
    users: int
    system: str
    intents: Sequence[Intent]
    tools: Mapping[str, Tool]
    details: Sequence[str]  # for any intent
    questions: Sequence[tuple[str, str]]  # of the agent, and the answers
    apologies: Sequence[str]
    words: Words


def _read_application(
    file: str, dialect: Literal["gen_ai", "openinference"], users: int, models: Sequence[Model]
) -> Application:
    sections = read_prose(f"{file}.ini")
    usual, words, tools = (sections.pop(name) for name in ("any intent", "words", "tools"))
    return Application(
        service=file,
        dialect=dialect,
        models=models,
        users=users,
        system=usual["system"].strip(),
        intents=tuple(_read_intent(name, section) for name, section in sections.items()),
        tools={name: Tool(*map(_fields, _pair(text))) for name, text in tools.items()},
        details=alternatives(usual["details"]),
        questions=tuple(map(_pair, alternatives(usual["questions"]))),
        apologies=alternatives(usual["apologies"]),
        words={
            tuple(names.split()): tuple(tuple(v.split("/")) for v in alternatives(values))
            for names, values in words.items()
        },
    )


def _read_intent(name: str, section: SectionProxy) -> Intent:
    return Intent(
        name,
        traces=float(section["traces"]),
        tools=tuple(section["tools"].split()),
        asks=alternatives(section["asks"]),
        details=alternatives(section["details"]),
        answers=alternatives(section["answers"]),
    )


def read_prose(file: str) -> dict[str, SectionProxy]:
    """The sections of a file in ``prose/``."""
    parser = ConfigParser(interpolation=None, delimiters=("=",), empty_lines_in_values=False)
    path = Path(__file__).parent / "prose" / file
    parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
    return {name: parser[name] for name in parser.sections()}


def alternatives(text: str) -> tuple[str, ...]:
    """The alternatives of a text, on lines of their own or divided by `` | ``."""
    return tuple(text.strip().replace(" | ", "\n").splitlines())


def _pair(text: str) -> tuple[str, str]:
    first, second = text.split(" -> ")
    return first, second


def _fields(text: str) -> Fields:
    pairs = (field.split(": ", 1) for field in text.split("; "))
    return tuple((name, value) for name, value in pairs)


TRAVEL = _read_application(
    "travel-agent",
    "gen_ai",
    users=900,
    models=(
        Model("gpt-4.1-mini", "openai", 0.40, 1.60, share=0.9),
        Model("gemini-2.5-flash", "gcp.gemini", 0.30, 2.50, share=0.1),
    ),
)
CODING = _read_application(
    "coding-assistant",
    "openinference",
    users=120,
    models=(
        Model("qwen3-coder", "openrouter", 0.90, 3.60, share=0.95),
        Model("kimi-k2", "openrouter", 0.60, 2.50, share=0.05),
    ),
)
# A new application of the same kind, with too few traces to cluster: about one a day.
PILOT = replace(
    TRAVEL,
    service="travel-agent-pilot",
    users=4,
    intents=tuple(replace(intent, traces=intent.traces / 200) for intent in TRAVEL.intents),
)
APPLICATIONS = (TRAVEL, CODING, PILOT)
