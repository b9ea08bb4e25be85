"""The names of teams by their keys."""

from collections.abc import Iterable

from trace_clustering_dagster.fields import team_key


def team_keys(names: Iterable[str]) -> dict[int, str]:
    """The names by key.

    Raises:
        ValueError: Two names have one key.
    """
    named: dict[int, str] = {}
    for name in sorted(set(names)):
        key = team_key(name)
        if key in named:
            raise ValueError(
                f"the teams {named[key]!r} and {name!r} have the same key {key}: rename one of "
                "them in the source"
            )
        named[key] = name
    return named
