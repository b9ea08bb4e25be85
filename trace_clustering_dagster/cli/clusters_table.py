"""The clusters of one day, as a table for a terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trace_clustering_dagster.cli.text import printable

if TYPE_CHECKING:
    from trace_clustering_dagster.clickhouse.connection import Connection

# Terminal columns from which the table has room for the nearest traces.
_WIDE = 120


def print_clusters(
    connection: "Connection",
    event: Mapping[str, Any],
    left_out: Mapping[str, int],
    *,
    redact: bool,
) -> None:
    """Print an event's clusters; in a wide terminal, with the trace nearest to each center.

    Args:
        left_out: Counts of traces that were not clustered, by reason.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from trace_clustering_dagster.traces.values import describe_left_out

    console = Console()
    table = Table(show_lines=True)
    for name in ("#", "title", "description", "size", "share"):
        table.add_column(name, justify="right" if name in ("#", "size", "share") else "left")
    # a uuid is not wrapped, so in a narrow terminal it would leave no room for other columns
    nearest: list[list[str]] = [[] for _ in event["$ai_clusters"]]
    if console.width >= _WIDE:
        table.add_column("nearest trace", width=36)
        nearest = [[trace] for trace in _nearest_traces(connection, event, redact)]
    for cluster, trace in zip(event["$ai_clusters"], nearest, strict=True):
        share = cluster["size"] / event["$ai_sampled_traces_count"]
        cells = [
            str(cluster["cluster_id"]),
            cluster["title"],
            cluster["description"],
            str(cluster["size"]),
            f"{share:.0%}",
            *trace,
        ]
        # Text: markup in a trace is shown, not interpreted
        table.add_row(*(Text(printable(cell)) for cell in cells))
    silhouette = event["$ai_silhouette_score"]
    team = printable(event.get("$ai_team_name") or str(event["$ai_team_id"]))
    console.print(
        Text(
            f"Team {team}, window {event['$ai_window_start']} to "
            f"{event['$ai_window_end']}\n"
            f"{event['$ai_total_traces_analyzed']} traces, {event['$ai_sampled_traces_count']} "
            f"sampled; k = {event['$ai_optimal_k']}, silhouette "
            f"{'none' if silhouette is None else f'{silhouette:.3f}'}"
            f"{describe_left_out(left_out)}"
        )
    )
    console.print(table)


def _nearest_traces(connection: "Connection", event: Mapping[str, Any], redact: bool) -> list[str]:
    """The id and title of the trace nearest to each cluster's center."""
    from trace_clustering_dagster.base.times import parse_time
    from trace_clustering_dagster.traces.queries import fetch_summaries

    start, end = parse_time(event["$ai_window_start"]), parse_time(event["$ai_window_end"])
    nearest = [cluster["trace_ids"][0] for cluster in event["$ai_clusters"]]
    summaries = fetch_summaries(
        connection,
        event["$ai_team_id"],
        (start, end),
        nearest,
        redact=redact,
        titles_only=True,
    )
    titles = (summaries[i].title if i in summaries else "" for i in nearest)
    return [f"{i}\n{title}".strip() for i, title in zip(nearest, titles, strict=True)]
