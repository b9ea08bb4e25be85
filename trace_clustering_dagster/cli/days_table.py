"""Topics over several days, as tables for a terminal."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from trace_clustering_dagster.cli.text import printable

# Terminal columns per day, and for the topic and the change together.
_DAY_COLUMNS, _TOPIC_COLUMNS = 6, 30


def print_days(compared: Mapping[str, Any], team: str) -> None:
    """Print the result of `compare_days`, with as many days side by side as fit."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    days, console = compared["days"], Console()
    console.print(
        Text(
            f"Team {printable(team)}, {days[0]} to {days[-1]}: number of traces in each topic, "
            f"and below it their share of the day's sample. change: of the share since {days[0]}, "
            "in percentage points"
        )
    )
    # days that do not fit continue in the next table
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
            points = change if isinstance(change, str) else _points(change)
            cells = (topic["title"], *sizes, *([points] if is_last else []))
            table.add_row(*(Text(printable(cell)) for cell in cells))
        console.print(table)
    for line in left_out_days(compared):
        console.print(Text(printable(line)))


def _points(change: float) -> str:
    points = round(100 * change)
    return f"{points:+}" if points else "0"


def left_out_days(compared: Mapping[str, Any]) -> Iterator[str]:
    """The days that are not compared and what differs, one line each."""
    for day, differences in compared["left_out"].items():
        listed = ", ".join(f"{name} {_short(value)}" for name, value in differences.items())
        yield f"{day} is left out because its parameters differ: {listed}"


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
