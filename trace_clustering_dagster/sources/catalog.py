"""The sources: one ``.sql`` file each, whose header says what it reads.

::

    -- <one line: what it is>
    -- table: name[, ...]               tables that are needed; a setting renames the first
    -- team: expression                 of the team's name
    -- team attribute: expression       the same if a setting names the attribute
    -- optional: column type[, ...]     columns of the first table that older versions lack
    -- optional: table(column type, ...)   the same of another table, or a table that may be missing
    -- newest: table(column BY key, ...)   which row replaces others with its key
    -- content off: how to switch on the capture of content

The query gives one row a step, with the columns ``COLUMNS``. Below the header, ``{{...}}`` stands
for SQL that depends on the store: see ``rendering``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trace_clustering_dagster.fields import check_identifier

_STORES = Path(__file__).parent / "sql" / "stores"

_TEXT, _TIME, _YES_NO, _NUMBER = "a text", "a DateTime64(6, 'UTC')", "a Bool", "a number"
_TYPES = {
    _TEXT: r"String|Enum(8|16)\(.*\)",
    _TIME: r"DateTime(64)?(\(.*\))?",
    _YES_NO: "Bool|UInt8",
    _NUMBER: r"U?Int\d+|Float(32|64)|Decimal\(.*\)|Nothing",
}
# What a source gives for each step, and of which type.
COLUMNS = {
    "team": _TEXT,
    "trace_id": _TEXT,
    "step_id": _TEXT,
    "parent_id": _TEXT,
    "start_time": _TIME,
    "end_time": _TIME,
    "is_error": _YES_NO,
    "is_score": _YES_NO,
    "name": _TEXT,
    "entity": _TEXT,
    "raw_kind": _TEXT,
    "input": _TEXT,
    "output": _TEXT,
    "system": _TEXT,
    "error": _TEXT,
    "model": _TEXT,
    "input_tokens": _NUMBER,
    "output_tokens": _NUMBER,
    "cost": _NUMBER,
    "user": _TEXT,
    "session": _TEXT,
}


@dataclass(frozen=True)
class Source:
    """A kind of raw traces, as its file describes it.

    Attributes:
        name: The file's name without ``.sql``; of a user's own file, its path.
        database: Usual database of the tables; "" if the deployment's.
        tables: The tables that must exist. A setting renames the first.
        team, team_attribute: SQL of the team's name; the latter "" if no attribute can hold it.
        optional: Types of columns that may be missing, by table and column.
        newest: Version column and key of the tables in which rows replace others.
        content_off: How to switch on the capture of content.
        query: The SQL below the header.
        text: The whole file.
    """

    name: str
    description: str
    database: str
    tables: tuple[str, ...]
    team: str
    team_attribute: str
    optional: Mapping[str, Mapping[str, str]]
    newest: Mapping[str, tuple[str, str]]
    content_off: str
    query: str
    text: str

    def names(self, first: str = "") -> dict[str, str]:
        """The tables' names in a store, by the source's names.

        Args:
            first: Name of the first table, where it is not the source's.
        """
        names = {table: table for table in (*self.tables, *self.optional)}
        return names | ({self.tables[0]: first} if first and self.tables else {})


def known_sources() -> list[str]:
    """The names of the sources that come with the package."""
    return sorted(file.stem for file in _STORES.glob("*.sql"))


def known_source(name: str) -> Source:
    """A source that comes with the package, or a user's own: a path that ends in ``.sql``.

    Raises:
        ValueError: There is no such source, its file cannot be read, or its header is invalid.
    """
    if name.endswith(".sql"):
        return _parsed(name, _read(name))
    if name in known_sources():
        return _parsed(name, (_STORES / f"{name}.sql").read_text(encoding="utf-8"))
    raise ValueError(
        f"there is no source {name[:100]!r}: use {', '.join(known_sources())}, or a path that ends "
        "in .sql"
    )


def problem_of(columns: Mapping[str, str]) -> str:
    """What is wrong with the columns that a source gives, by name and type; "" if nothing is."""
    problems = []
    for name, kind in COLUMNS.items():
        type_ = columns.get(name, "missing")
        while wrapped := re.fullmatch(r"(?:LowCardinality|Nullable)\((.*)\)", type_):
            type_ = wrapped[1]
        if not re.fullmatch(_TYPES[kind], type_):
            problems.append(
                f"the column {name} is {columns.get(name, 'missing')}: it must be {kind}"
            )
    return "; ".join(problems)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ValueError(f"the source {path} cannot be read: {reason}") from None


def _parsed(name: str, text: str) -> Source:
    header = re.match(r"(?:\s*--.*\n)*", text)
    lines = [line.strip(" -") for line in (header[0] if header else "").splitlines()]
    fields: dict[str, list[str]] = {}
    for line in lines:
        if field := re.match(
            "(table|team|team attribute|optional|newest|content off): *(.*)", line
        ):
            fields.setdefault(field[1], []).append(field[2])
    try:
        tables = [part for line in fields.get("table", []) for part in split(line)]
        databases = {table.rpartition(".")[0] for table in tables}
        if len(databases) > 1:
            raise ValueError("its tables must be in one database")
        names = tuple(check_identifier(table.rpartition(".")[2]) for table in tables)
        optional: dict[str, dict[str, str]] = {table: {} for table in names}
        for line in fields.get("optional", []):
            table, columns = _of_table(line, names[0] if names else "")
            optional.setdefault(table, {}).update(_columns(columns))
        newest = {}
        for line in fields.get("newest", []):
            table, replaced = _of_table(line, names[0] if names else "")
            version, _, key = replaced.partition(" BY ")
            newest[table] = version.strip(), key.strip()
        database = next(iter(databases), "")
        return Source(
            name=name,
            description=lines[0] if lines else "",
            database=database and check_identifier(database),
            tables=names,
            team=" ".join(fields.get("team", [])),
            team_attribute=" ".join(fields.get("team attribute", [])),
            optional=optional,
            newest=newest,
            content_off=" ".join(fields.get("content off", [])),
            query=text[header.end() if header else 0 :].strip().rstrip(";"),
            text=text,
        )
    except ValueError as error:
        raise ValueError(f"the header of the source {name} is invalid: {error}") from None


def _of_table(line: str, first: str) -> tuple[str, str]:
    named = re.fullmatch(r"(\w+) *\((.*)\)", line)
    # the type of a first column is no table: `a Array(String)` has a space
    return (check_identifier(named[1]), named[2]) if named else (first, line)


def _columns(text: str) -> Iterator[tuple[str, str]]:
    for part in split(text):
        name, _, type_ = part.partition(" ")
        for word in name.split("."):
            check_identifier(word)
        if not re.fullmatch(r"[A-Za-z0-9_(), ']+", type_):
            raise ValueError(f"{part!r} is not a column and its type")
        yield name, type_


def split(text: str) -> list[str]:
    """The parts between commas that are not in parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]
