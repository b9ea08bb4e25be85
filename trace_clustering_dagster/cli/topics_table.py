"""Topics as tables for a terminal, and as JSON."""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trace_clustering_dagster.cli.text import one_line

if TYPE_CHECKING:
    from trace_clustering_dagster.topics.edits import Shown
    from trace_clustering_dagster.topics.reading_days import RecentTopics, TopicOnDay

# Columns of a terminal in which titles and four weeks fit side by side.
_WIDE = 110
_BARS = "▁▂▃▄▅▆▇█"
_NUMBERS = ("traces", "share", "users", "errors", "cost", "latency", "explained")


def as_dicts(found: "RecentTopics", shown: "Shown", *, with_hidden: bool) -> dict[str, Any]:
    """The living topics of the newest day, the largest first."""
    unsorted = found.newest.get(0)
    topics = [
        _as_dict(found, row, shown)
        for topic, row in found.living.items()
        if with_hidden or topic not in shown.hidden
    ]
    return {
        "day": str(found.day),
        "lineage": str(found.lineage),
        "topics": sorted(topics, key=lambda t: (-(t["traces"] or 0), t["topic_id"])),
        "unsorted": {name: getattr(unsorted, name) for name in ("traces", "share")}
        if unsorted
        else None,
        "hidden": len(shown.hidden & found.living.keys()),
    }


def topic_as_dict(
    found: "RecentTopics", topic_id: int, shown: "Shown", traces: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """A topic as of the last day on which it was, and all its days."""
    rows = found.history[topic_id]
    return {
        **_as_dict(found, rows[-1], shown),
        "day": str(rows[-1].day),
        "lineage": str(found.lineage),
        "representatives": list(traces),
        "history": [
            {"day": str(row.day), "status": row.status}
            | {name: getattr(row, name) for name in _NUMBERS}
            for row in rows
        ],
    }


def _as_dict(found: "RecentTopics", row: "TopicOnDay", shown: "Shown") -> dict[str, Any]:
    return {
        "topic_id": row.topic_id,
        "title": shown.titles[row.topic_id],
        "description": row.description,
        "theme_id": row.theme_id,
        "theme_title": row.theme_title,
        "status": row.status,
        "born": str(row.born),
        "last_seen": str(row.last_seen),
        "parents": list(row.parents),
        "is_hidden": row.topic_id in shown.hidden,
        **{name: getattr(row, name) for name in _NUMBERS},
        "trend": _trend(found, row.topic_id),
    }


def _trend(found: "RecentTopics", topic_id: int) -> list[float | None]:
    """The traces of each of the last 28 days; None where they are unknown."""
    from trace_clustering_dagster.topics.values import LOOK_BACK_DAYS

    traces = {row.day: row.traces for row in found.history[topic_id]}
    days = range(LOOK_BACK_DAYS - 1, -1, -1)
    return [traces.get(found.day - datetime.timedelta(days=back)) for back in days]


def sparkline(values: Sequence[float | None]) -> str:
    """One bar for each value, from 0 to the largest; a space where it is unknown."""
    top = max((value for value in values if value is not None), default=0) or 1
    last = len(_BARS) - 1
    return "".join(
        " " if value is None else _BARS[min(last, round(last * max(value, 0) / top))]
        for value in values
    )


def print_topics(found: Mapping[str, Any], team_id: int) -> None:
    """Print the result of ``as_dicts`` by theme, the largest theme first."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from trace_clustering_dagster.topics.values import LOOK_BACK_DAYS

    console, table = Console(), Table()
    is_wide = console.width >= _WIDE
    days = LOOK_BACK_DAYS if is_wide else LOOK_BACK_DAYS // 2
    trend, since = f"{days} days", ["since"] if is_wide else []
    for name in ("#", "title", "traces", "share", trend, "status", *since):
        is_number = name in ("#", "traces", "share")
        table.add_column(name, justify="right" if is_number else "left", no_wrap=name != "title")
    for theme, topics in _by_theme(found["topics"]):
        if theme:
            traces = sum(topic["traces"] or 0 for topic in topics)
            table.add_row("", Text(one_line(theme), style="bold"), f"{traces:,.0f}")
        for topic in topics:
            title = Text(("  " if theme else "") + one_line(topic["title"]))
            title.append(" (hidden)" if topic["is_hidden"] else "")
            table.add_row(
                str(topic["topic_id"]),
                title,
                _number(topic["traces"]),
                _share(topic["share"]),
                sparkline(topic["trend"][-days:]),
                Text(one_line(topic["status"])),
                *([topic["born"]] if is_wide else []),
            )
    count = len(found["topics"])
    console.print(Text(f"Team {team_id}, {found['day']}: {count} topics, with the day's traces"))
    console.print(table)
    if unsorted := found["unsorted"]:
        share = _share(unsorted["share"])
        console.print(Text(f"unsorted: {_number(unsorted['traces'])} traces, {share}"))
    if found["hidden"]:
        console.print(Text(f"{found['hidden']} hidden: --all shows them"))


def _by_theme(
    topics: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """The title of each theme, "" for no theme, and its topics."""
    groups: dict[int, list[Mapping[str, Any]]] = {}
    for topic in topics:
        groups.setdefault(topic["theme_id"], []).append(topic)
    sizes = {theme: sum(topic["traces"] or 0 for topic in group) for theme, group in groups.items()}
    for theme in sorted(groups, key=lambda t: (t == 0, -sizes[t], t)):
        title = groups[theme][0]["theme_title"] or f"theme {theme}"
        yield (title if theme else ""), groups[theme]


def print_topic(topic: Mapping[str, Any]) -> None:
    """Print the result of ``topic_as_dict``."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    hidden = ", hidden" if topic["is_hidden"] else ""
    came_from = ", ".join(map(str, topic["parents"]))
    lines = [
        f"Topic {topic['topic_id']}: {one_line(topic['title'])}",
        one_line(topic["description"]),
        f"{one_line(topic['status'])}{hidden}, since {topic['born']}, last seen "
        f"{topic['last_seen']}{f', parents: {came_from}' if came_from else ''}",
    ]
    if topic["theme_id"]:
        lines.append(f"theme {topic['theme_id']}: {one_line(topic['theme_title'])}")
    console.print(Text("\n".join(filter(None, lines))))
    days, is_wide = Table(), console.width >= _WIDE
    more = ["explained"] if is_wide else []
    for name in ("day", "status", "traces", "share", "users", "errors", "cost", "latency", *more):
        is_number = name not in ("day", "status")
        days.add_column(name, justify="right" if is_number else "left", no_wrap=True)
    for row in topic["history"]:
        days.add_row(
            row["day"],
            Text(one_line(row["status"])),
            _number(row["traces"]),
            _share(row["share"]),
            _number(row["users"]),
            _number(row["errors"]),
            "" if row["cost"] is None else f"${row['cost']:,.2f}",
            "" if row["latency"] is None else f"{row['latency']:.2f} s",
            *([_share(row["explained"])] if is_wide else []),
        )
    console.print(days)
    nearest = Table()
    for name in ("nearest traces", "title"):
        nearest.add_column(name)
    for trace in topic["representatives"]:
        cells = (trace["trace_id"], trace["title"])
        nearest.add_row(*(Text(one_line(cell)) for cell in cells))
    if topic["representatives"]:
        console.print(nearest)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"
