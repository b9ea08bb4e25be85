"""What people see of topics in the Dagster UI."""

from typing import Any

import dagster as dg

from trace_clustering_dagster_tests.conftest import markdown_of
from trace_clustering_dagster_tests.topics.months import MakeTeam, traces_of
from trace_clustering_dagster_tests.topics.test_topic_labels import team_of

__all__ = ["team_of"]

HOSTILE = "<img src=x> **Refund** of a [flight](http://x)"
ROWS = [row for intent in range(3) for row in traces_of(intent, range(20, 28))]


def by_topic(result: dg.ExecuteInProcessResult, asset: str) -> list[dict[str, Any]]:
    (materialization,) = result.asset_materializations_for_node(asset)
    table = materialization.metadata["by_topic"]
    assert isinstance(table, dg.TableMetadataValue)
    return [dict(record.data) for record in table.records]


def test_tables_say_what_topics_are_and_how_they_do(team_of: MakeTeam) -> None:
    team = team_of(ROWS, {row["document_id"]: HOSTILE for row in ROWS[:48]})
    result = team.run(27, asset="topics_over_time")
    titles = {row["topic_id"]: row["title"] for row in by_topic(result, "topic_labels")}
    assert HOSTILE in titles.values()
    rows = by_topic(result, "topics_over_time")
    assert {row["topic_id"]: row["title"] for row in rows} == titles | {0: "Unsorted"}
    traces = [int(row["traces"]) for row in rows]
    assert (traces, sum(traces)) == (sorted(traces, reverse=True), 18)
    assert [row["share"] for row in rows] == [f"{count / 18:.1%}" for count in traces]
    sampled = [row["sampled"] for row in by_topic(result, "topic_labels")]
    assert sampled == [row["sampled"] for row in by_topic(result, "topics")]
    assert 0.9 * 126 < sum(sampled) <= 126
    assert HOSTILE not in "".join(markdown_of(result)), "text is never markup"


def test_text_of_traces_can_be_hidden(team_of: MakeTeam) -> None:
    team = team_of(ROWS, emit_examples=False)
    result = team.run(27, asset="topics_over_time")
    for asset in ("topic_labels", "topics_over_time"):
        titles = {row["title"] for row in by_topic(result, asset)}
        assert titles - {"Unsorted"} == {"hidden: emit_examples is false"}
