"""Made-up steps and traces."""

import datetime
import json
from typing import Any

from trace_clustering_dagster.sources.steps import RawTrace, Step

NOON = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.timezone.utc)


def step(number: int, raw_kind: str, **fields: Any) -> Step:
    """A step that begins at second ``number`` and lasts half a second; inputs and outputs that are
    no text are JSON."""
    values: dict[str, Any] = {
        "step_id": f"s{number}",
        "parent_id": "",
        "started": NOON + datetime.timedelta(seconds=number),
        "ended": NOON + datetime.timedelta(seconds=number + 0.5),
        "is_error": False,
        "is_score": False,
        "cost": None,
        "input_tokens": 0,
        "output_tokens": 0,
        "raw_kind": raw_kind,
    }
    texts = ("name", "entity", "input", "output", "system", "error", "model", "user", "session")
    values |= dict.fromkeys(texts, "") | fields
    for name in ("input", "output"):
        if not isinstance(values[name], str):
            values[name] = json.dumps(values[name])
    return Step(**values)


def trace(*steps: Step, trace_id: str = "t") -> RawTrace:
    return RawTrace(trace_id, steps)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str, *calls: str) -> dict[str, Any]:
    functions = [{"function": {"name": name, "arguments": "{}"}} for name in calls]
    return {"role": "assistant", "content": text} | ({"tool_calls": functions} if calls else {})


def long_trace(steps: int, characters: int) -> RawTrace:
    """A conversation that is sent again with each of so many steps, each of so many characters;
    one tool in 50 fails."""
    made = []
    for number in range(steps):
        if number % 2:
            failed = number % 50 == 1
            result = f"result {number} " + "so it is " * (characters // 9)
            made.append(
                step(
                    number,
                    "tool",
                    name=f"tool{number % 6}",
                    parent_id=f"s{number - 1}",
                    input={"number": number},
                    output=result,
                    is_error=failed,
                    error=f"failure {number}" if failed else "",
                )
            )
        else:
            turns = [user(f"turn {n} " + "we do " * (characters // 60)) for n in range(10)]
            turns.append(user(f"turn {number + 100}"))
            made.append(
                step(number, "llm", name="chat", input=turns, output=assistant(f"reply {number}"))
            )
    return trace(*made)
