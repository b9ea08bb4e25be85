"""Which attribute of a span is read, where dialects hold one thing in several."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster.sources.queries import open_source, read_index, read_traces
from trace_clustering_dagster.sources.steps import Step
from trace_clustering_dagster_tests.sources.stores import StoreMaker
from trace_clustering_dagster_tests.sources.test_reading import END, START, span

MARK = {"gen_ai.operation.name": "chat"}
CASES = {
    "none": ({}, ""),
    "one": ({"input.value": "a"}, "a"),
    "a later one of the row comes first in the list": (
        {"input.value": "a", "gen_ai.input.messages": "b"},
        "b",
    ),
    "empty ones do not count": ({"gen_ai.input.messages": "", "input.value": "a"}, "a"),
    "all empty": ({"gen_ai.input.messages": "", "input.value": ""}, ""),
    "like another": ({"input.values": "a", "xinput.value": "b", "INPUT.VALUE": "c"}, ""),
    "of many": ({f"key-{i}": "x" * i for i in range(2_000)} | {"input.value": "a"}, "a"),
    "the last in the list": ({"langfuse.trace.input": "a"}, "a"),
    "beside a prefix": ({"gen_ai.prompt.0.content": "a", "input.value": "b"}, "b"),
}


def read(settings: Settings) -> dict[str, Step]:
    raw = open_source(settings)
    found = read_index(raw, "s", (START, END), seed=0, max_samples=0)
    (trace,) = read_traces(raw, "s", found.traces, END, seed=0)
    return {step.step_id: step for step in trace.steps}


@pytest.mark.parametrize("store", ["otel", "otel-json"])
def test_the_first_attribute_of_the_list_that_is_not_empty(stores: StoreMaker, store: str) -> None:
    if store == "otel-json" and stores.is_embedded:
        pytest.skip("a Parquet file has no column of type JSON")
    rows = [span("t", name, START, attributes=given) for name, (given, _) in CASES.items()]
    steps = read(stores.make(store, {"otel_traces": rows}, source="otel"))
    assert {name: steps[name].input for name in CASES} == {
        name: wanted for name, (_, wanted) in CASES.items()
    }


def test_attributes_that_are_null_do_not_count(stores: StoreMaker) -> None:
    if not stores.is_embedded:
        pytest.skip("only Parquet files have such maps")
    made = stores.make("otel", {"otel_traces": [span("t", "1", START), span("t", "2", START)]})
    file = Path(made.source.url.removeprefix("chdb://"), "otel_traces", "part-0.parquet")
    table = pq.read_table(file)
    given: dict[str, dict[str, Any]] = {
        "1": {**MARK, "gen_ai.input.messages": None, "input.value": "a"},
        "2": {**MARK, "gen_ai.input.messages": None},
    }
    ids = [
        value if isinstance(value, str) else value.decode() for value in table["SpanId"].to_pylist()
    ]
    maps = pa.array([list(given[i].items()) for i in ids], pa.map_(pa.string(), pa.string()))
    place = table.column_names.index("SpanAttributes")
    pq.write_table(table.set_column(place, "SpanAttributes", maps), file)
    steps = read(made)
    assert (steps["1"].input, steps["2"].input, steps["1"].user) == ("a", "", "")
