"""The subjects of the traces: the applications of three teams, and how a trace may end.

The texts are in ``prose/``, for anyone to edit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from configparser import ConfigParser, SectionProxy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

# Values for the names in braces: names that are drawn together, and their alternatives.
Slots: TypeAlias = Mapping[tuple[str, ...], Sequence[tuple[str, ...]]]


@dataclass(frozen=True)
class Intent:
    """What a user wants. The texts are templates over the slots of the domain."""

    name: str
    topic: str  # its name in the title of a mixed trace
    tools: tuple[str, ...]
    titles: tuple[str, ...]
    results: tuple[str, ...]  # endings of a title when all went well
    asks: tuple[str, ...]
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """How a trace ends, whatever its intent. The texts are templates too."""

    name: str
    weight: float
    notes: tuple[str, ...]
    endings: tuple[str, ...]  # of the title; if empty, one of the intent's results
    steps: tuple[str, ...]
    tool: str  # the last tool in the flow; "" for none
    repeats: int  # maximum calls of a tool in a row
    fails: bool  # one generation of the trace is an error


@dataclass(frozen=True)
class Domain:
    """The application of one team."""

    team_id: int
    traces: int
    intents: tuple[Intent, ...]  # the most frequent first
    common_tools: tuple[str, ...]
    chatter: tuple[str, ...]  # bullets for any intent
    slots: Slots
    surges: Mapping[str, float]  # intents that grow in the last days


def _read_domain(file: str, team_id: int, traces: int, surges: Mapping[str, float]) -> Domain:
    sections = _read(file)
    usual, words = sections.pop("any intent"), sections.pop("words")
    return Domain(
        team_id=team_id,
        traces=traces,
        intents=tuple(_read_intent(name, section) for name, section in sections.items()),
        common_tools=tuple(usual["tools"].split()),
        chatter=_alternatives(usual["steps"]),
        slots={
            tuple(names.split()): tuple(tuple(v.split("/")) for v in _alternatives(values))
            for names, values in words.items()
        },
        surges=surges,
    )


def _read_intent(name: str, section: SectionProxy) -> Intent:
    return Intent(
        name,
        topic=section["topic"],
        tools=tuple(section["tools"].split()),
        titles=_alternatives(section["titles"]),
        results=_alternatives(section["results"]),
        asks=_alternatives(section["asks"]),
        steps=_alternatives(section["steps"]),
    )


def _read_outcome(name: str, section: SectionProxy) -> Outcome:
    return Outcome(
        name,
        weight=float(section["weight"]),
        notes=_alternatives(section["notes"]),
        endings=_alternatives(section.get("endings", "")),
        steps=_alternatives(section.get("steps", "")),
        tool=section.get("tool", ""),
        repeats=section.getint("repeats", 1),
        fails=section.getboolean("fails", False),
    )


def _read(file: str) -> dict[str, SectionProxy]:
    parser = ConfigParser(interpolation=None, delimiters=("=",), empty_lines_in_values=False)
    path = Path(__file__).parent / "prose" / file
    parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
    return {name: parser[name] for name in parser.sections()}


def _alternatives(text: str) -> tuple[str, ...]:
    return tuple(text.strip().replace(" | ", "\n").splitlines())


OUTCOMES = tuple(_read_outcome(name, section) for name, section in _read("outcomes.ini").items())
TRAVEL = _read_domain("travel.ini", team_id=1, traces=1500, surges={"payment failure": 3.5})
CODING = _read_domain("coding.ini", team_id=2, traces=600, surges={"fix a failing build": 2.0})
# A new application of the same kind, with too few traces to cluster.
PILOT = replace(TRAVEL, team_id=3, traces=12)
DOMAINS = (TRAVEL, CODING, PILOT)
