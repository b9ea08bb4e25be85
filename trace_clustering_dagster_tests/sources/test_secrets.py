"""No secret is in what is stored or sent of a trace, in any dialect and wherever it is cut."""

import json

import pytest

from trace_clustering_dagster.sources.content import content_of
from trace_clustering_dagster.sources.extract import extract
from trace_clustering_dagster.sources.parsing import CUT, KEPT
from trace_clustering_dagster.sources.steps import RawTrace
from trace_clustering_dagster.sources.transcript import transcript
from trace_clustering_dagster_tests.llm.test_redaction import SECRETS, shown_parts, text_with
from trace_clustering_dagster_tests.sources.dialects import dialects
from trace_clustering_dagster_tests.sources.made_up import step, trace, user


def shown(raw: RawTrace, *, redact: bool = True) -> str:
    """All that leaves the trace."""
    found = extract(raw, redact=redact)
    content = content_of(found) if found else ""
    return content + "\n" + transcript(raw, max_characters=100_000, redact=redact)


def quoted(kind: str, depth: int) -> str:
    """Prose that quotes JSON which holds the secret in a line of its own, as messages of errors do,
    within so many texts in JSON."""
    before, secret, after = SECRETS[kind]
    text = json.dumps({"text": f"we do\n{before}{secret}{after}\nwe do", "password": secret})
    for _ in range(depth):
        text = json.dumps(text)
    return f"It failed with {text}"


def planted(kind: str) -> str:
    before, secret, after = SECRETS[kind]
    return f"we do {before}{secret}{after} we do"


def traces_with(dialect: str, kind: str) -> dict[str, RawTrace]:
    """Traces with the secret in one place each."""
    text = planted(kind)
    plain = step(0, "llm", name="chat", input=dialects("hi there", "42")[dialect])
    secret_arguments = {"text": text, "inner": json.dumps({"text": text})}
    return {
        "user": trace(step(0, "llm", input=dialects(text, "42")[dialect])),
        "system": trace(step(0, "llm", input="hi", system=text)),
        "later turn": trace(plain, step(1, "llm", input=dialects(text, "42")[dialect])),
        "arguments": trace(step(0, "llm", input=dialects("hi", "42", secret_arguments)[dialect])),
        "result": trace(step(0, "llm", input=dialects("hi", text)[dialect])),
        "answer": trace(step(0, "llm", input="hi", output=dialects(text, "42")[dialect])),
        "tool": trace(plain, step(1, "tool", name="f", input=secret_arguments, output=text)),
        "tool's input": trace(step(0, "tool", name="f", input=dialects(text, "")[dialect])),
        "tool's output": trace(plain, step(1, "tool", output=dialects(text, text)[dialect])),
        "error": trace(plain, step(1, "tool", name="f", is_error=True, error=text)),
        "json error": trace(step(0, "tool", is_error=True, error=json.dumps({"message": text}))),
        "name": trace(plain, step(1, "tool", name=text)),
        "feedback": trace(plain, step(1, "score", is_score=True, output=text)),
    }


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_no_secret_leaves_json_that_a_text_quotes(depth: int) -> None:
    plain = step(0, "llm", input="hi")
    leaks = {
        (kind, place): parts
        for kind in SECRETS
        for place, raw in {
            "user": trace(step(0, "llm", input=quoted(kind, depth))),
            "error": trace(plain, step(1, "tool", is_error=True, error=quoted(kind, depth))),
            "result": trace(plain, step(1, "tool", output=quoted(kind, depth))),
        }.items()
        if (parts := shown_parts(kind, shown(raw)))
    }
    assert not leaks


@pytest.mark.parametrize("dialect", dialects("", ""))
def test_no_secret_leaves_a_trace(dialect: str) -> None:
    leaks = {
        (kind, place): parts
        for kind in SECRETS
        for place, raw in traces_with(dialect, kind).items()
        if (parts := shown_parts(kind, shown(raw)))
    }
    assert not leaks


def test_without_redaction_every_secret_is_there() -> None:
    places: dict[str, set[str]] = {}
    for kind in SECRETS:
        for place, raw in traces_with("openai chat", kind).items():
            if shown_parts(kind, shown(raw, redact=False)):
                places.setdefault(kind, set()).add(place)
    assert {place for found in places.values() for place in found} == {
        *traces_with("openai chat", "email")
    }
    assert {*places} == {*SECRETS}


@pytest.mark.parametrize("kind", SECRETS)
def test_no_part_of_a_secret_is_left_where_a_text_is_cut(kind: str) -> None:
    """Texts are cut by the query, to both ends of a field, and by what is shown of them."""
    secret = SECRETS[kind][1]
    leaks = {}
    for cut in (120, 220, 300, 800, 1_200, KEPT, 22_000 - KEPT):
        for start in range(cut - len(secret) - 40, cut + 5, 4 if len(secret) < 40 else 23):
            text = text_with(kind, start, 22_000 if cut > 3_000 else 2_500)
            value = json.dumps([user(text)])
            if cut > 3_000:
                value = value[:KEPT] + CUT + value[-KEPT:]
            raw = trace(
                step(0, "llm", input=value, output=text),
                step(1, "tool", input={"a": text}, is_error=True, error=text[:2_000]),
            )
            if parts := shown_parts(kind, shown(raw)):
                leaks[cut, start] = parts
    assert not leaks


@pytest.mark.parametrize("kind", SECRETS)
def test_no_part_of_a_secret_is_left_where_a_library_has_cut_a_value(kind: str) -> None:
    leaks = {}
    text = planted(kind)
    for value in (json.dumps([user(text)]), repr([user(text)]), json.dumps({"question": text})):
        for end in range(20, len(value), 1 if len(value) < 120 else 9):
            raw = trace(step(0, "llm", input=value[:end]), step(1, "tool", input=value[:end]))
            parts = shown_parts(kind, shown(raw))
            # the beginning of a key's heading, all that is left of it, is no part of the key
            if parts := {part for part in parts if part not in "-----BEGIN PRIVATE KEY-----"}:
                leaks[value[:3], end] = parts
    assert not leaks


def test_what_is_no_secret_is_left_of_a_value_that_is_cut() -> None:
    value = json.dumps([user("Where is my parcel, please?")])
    assert "Where is my parcel," in shown(trace(step(0, "llm", input=value[:-6])))
