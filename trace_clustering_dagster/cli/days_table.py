"""How topics moved over days, as tables for a terminal."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from trace_clustering_dagster.cli.text import printable

# Columns that a day takes in a table, and that are kept for the topics and the change.
_DAY_COLUMNS, _TOPIC_COLUMNS = 6, 30


def print_days(compared: Mapping[str, Any]) -> None:
    """Print what `compare_days` returns, with as many days side by side as there is room for."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    days, console = compared["days"], Console()
    console.print(
        Text(
            f"Team {compared['team_id']}: traces in each topic, and their share of the day's "
            f"sample, {days[0]} to {days[-1]}; change in percentage points"
        )
    )
    # what has no room beside the topics is continued below
    at_once = max(1, (console.width - _TOPIC_COLUMNS) // _DAY_COLUMNS)
    for start in range(0, len(days), at_once):
        shown = days[start : start + at_once]
        is_last = shown[-1] == days[-1]
        table = Table(show_lines=True, padding=0)
        table.add_column("topic")
        for name in (*(day[5:] for day in shown), *(["change"] if is_last else [])):
            table.add_column(name, justify="right", no_wrap=True)
        for topic in compared["topics"]:
            sizes = [
                f"{cluster['size']}\n{cluster['share']:.0%}" if cluster else "-"
                for cluster in (topic["clusters"].get(day) for day in shown)
            ]
            change = topic["change"]
            points = change if isinstance(change, str) else f"{100 * change:+.0f}"
            cells = (topic["title"], *sizes, *([points] if is_last else []))
            table.add_row(*(Text(printable(cell)) for cell in cells))
        console.print(table)
    for line in left_out_days(compared):
        console.print(Text(printable(line)))


def left_out_days(compared: Mapping[str, Any]) -> Iterator[str]:
    """Which days are not compared, and what differs there: a line for each."""
    for day, differences in compared["left_out"].items():
        listed = ", ".join(f"{name} {_short(value)}" for name, value in differences.items())
        yield f"{day} is left out, it was clustered in another way: {listed}"


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
