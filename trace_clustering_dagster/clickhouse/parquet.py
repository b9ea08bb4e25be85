"""Check the Parquet files of an embedded warehouse by their schemas: no data is read.

The views over the files cast every column and fill in missing ones. So a wrong type shows only as a
query's error about one value, and a missing column only as rows that no query selects.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from trace_clustering_dagster.clickhouse.schema import OPTIONAL_COLUMNS, is_accepted

if TYPE_CHECKING:
    import pyarrow as pa

# What people call the types of ``schema.py`` when they write Parquet.
_NAMES = {
    "Int64": "an integer",
    "String": "a string",
    "UUID": "a string",
    "DateTime": "a timestamp",
    "Array": "a list of floats",
}
# Arrow types that are read as text; a column of null is one that no row fills. UUIDs are read as
# text or as their 16 bytes.
_TEXTS = {
    *("string", "large_string", "string_view", "binary", "large_binary", "null"),
    *("fixed_size_binary[16]", "extension<arrow.uuid>"),
}


class Problem(NamedTuple):
    """What is wrong with some files of a table, with the remedy.

    Attributes:
        status: "failed" if rows cannot be read; "warning" if each value has to be cast, which may
            fail.
    """

    status: Literal["warning", "failed"]
    text: str


def problems_of(folder: Path, columns: Mapping[str, str]) -> list[Problem]:
    """The problems of the files in a table's folder, those of rows that cannot be read first.

    Args:
        columns: ClickHouse types by name.
    """
    import pyarrow.parquet as pq
    from pyarrow.lib import ArrowException

    files: dict[Problem, list[str]] = {}
    for file in sorted(folder.glob("*.parquet")):
        try:
            schema = pq.read_schema(file)
        except (OSError, ArrowException):
            found = [
                Problem("failed", "not a complete Parquet file -> write it again or remove it")
            ]
        else:
            found = list(_problems(schema, columns))
        for problem in found:
            files.setdefault(problem, []).append(f"{folder.name}/{file.name}")
    return sorted(
        (Problem(status, f"{_listed(names)}: {text}") for (status, text), names in files.items()),
        key=lambda problem: problem.status,
    )


def _problems(schema: "pa.Schema", columns: Mapping[str, str]) -> Iterator[Problem]:
    for name, needed in columns.items():
        expected = next(text for family, text in _NAMES.items() if needed.startswith(family))
        if name not in schema.names:
            if name not in OPTIONAL_COLUMNS:
                yield Problem("failed", f"{name} is missing -> add it as {expected}")
            continue
        type_ = schema.field(name).type
        if not is_accepted(_in_clickhouse(type_), needed):
            yield Problem("warning", f"{name} is {type_} -> write it as {expected}")


def _in_clickhouse(type_: "pa.DataType") -> str:
    """The ClickHouse type of a column, as far as ``is_accepted`` tells types apart."""
    import pyarrow as pa

    is_ = pa.types
    if is_.is_dictionary(type_):
        return _in_clickhouse(type_.value_type)
    if is_.is_integer(type_):
        return "Int64"
    if is_.is_floating(type_):
        return "Float64"
    if is_.is_timestamp(type_):
        return "DateTime64"
    if is_.is_list(type_) or is_.is_large_list(type_) or is_.is_fixed_size_list(type_):
        return f"Array({_in_clickhouse(type_.value_type)})"
    return "String" if str(type_) in _TEXTS else str(type_)


def _listed(files: list[str]) -> str:
    others = f" and {len(files) - 1} other files" if len(files) > 1 else ""
    return files[0] + others
