"""A change in words."""

from collections.abc import Callable

from trace_clustering_dagster.topics.changes.values import TopicChange

_BETTER = {
    "traces": "{name} has {after} traces a day again",
    "error_rate": "{name} fails in {after} again",
    "cost": "a typical trace of {name} costs {after} again",
    "latency": "a typical trace of {name} takes {after} again",
    "dislikes": "{name} is disliked in {after} again",
}
_WORSE = {
    "grew": "{name} has {after} traces a day instead of {before}",
    "shrank": "{name} has {after} traces a day instead of {before}",
    "failing": "{name} fails in {after} of its traces instead of {before}",
    "dearer": "a typical trace of {name} costs {after} instead of {before}",
    "slower": "a typical trace of {name} takes {after} instead of {before}",
    "disliked": "{name} is disliked in {after} of its scores instead of {before}",
}
_HAPPENED = {
    "born": "{name} is a new topic",
    "back": "{name} is back",
    "gone": "{name} is gone",
    "split": "{name} split off from another topic",
    "merged": "{name} is now part of another topic",
}
# Beyond the team's own change, which is taken out of these.
_RELATIVE = {"grew", "shrank"}


def sentence_of(change: TopicChange, title: str) -> str:
    """One sentence, such as "Refund status fails in 21 % of its traces instead of 5 % (11 to 36 %;
    264 traces, 80 users)."

    Args:
        title: Of the topic; it is data and stays as it is.
    """
    name = {-1: "the whole team", 0: "what is in no topic"}.get(change.topic_id, title)
    if change.kind in _HAPPENED:
        text = _HAPPENED[change.kind].format(name=name)
        return _sentence(text, [*_counts(change)])
    show = _UNITS[change.measure]
    pattern = _BETTER[change.measure] if change.kind == "recovered" else _WORSE[change.kind]
    text = pattern.format(name=name, before=show(change.before), after=show(change.after))
    if change.kind in _RELATIVE and change.topic_id >= 0:
        text += ", beyond the team's own change"
    between = [f"{show(change.low)} to {show(change.high)}"]
    return _sentence(text, [*between, *_counts(change)])


def _counts(change: TopicChange) -> list[str]:
    counts = []
    if change.traces is not None:
        counts.append(f"{change.traces:.0f} traces")
    if change.users is not None:
        counts.append(f"{change.users:.0f} user{'' if change.users == 1 else 's'}")
    return counts


def _sentence(text: str, notes: list[str]) -> str:
    first, *rest = notes or [""]
    inside = "; ".join(part for part in (first, ", ".join(rest)) if part)
    return f"{text[:1].upper()}{text[1:]}{f' ({inside})' if inside else ''}."


def _number(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"


def _percent(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{100 * value:.0f} %" if value >= 0.095 else f"{100 * value:.1f} %"


def _dollars(value: float | None) -> str:
    if value is None:
        return "unknown"
    if value >= 10:
        return f"${value:,.2f}"
    # no exponent: a trace may cost $0.000023
    return f"${f'{value:.12f}'.rstrip('0').rstrip('.')}" if value < 1e-4 else f"${value:.2g}"


def _seconds(value: float | None) -> str:
    return f"{_number(value)} s"


_UNITS: dict[str, Callable[[float | None], str]] = {
    "traces": _number,
    "error_rate": _percent,
    "cost": _dollars,
    "latency": _seconds,
    "dislikes": _percent,
}
