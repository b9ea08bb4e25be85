"""Turn errors of ClickHouse and its client into one line that ends with the remedy."""

import contextlib
import logging
from collections.abc import Callable, Iterator

import dagster as dg

from trace_clustering_dagster.clickhouse.warehouse import SourceWarehouse, Warehouse
from trace_clustering_dagster.settings import named

_READ_ONLY = 164
_NO_DDL = (
    "ON CLUSTER does not work there: delete the rows on each server with the statement in "
    "docs/production.md, then forget again"
)
_COLUMNS = "a column is missing or has another type than `trace-clustering schema` prints"
# ClickHouse error codes that no retry fixes, and their remedies.
_REMEDIES = {
    16: _COLUMNS,
    36: "check the table's engine and the query's settings",
    43: _COLUMNS,
    47: _COLUMNS,
    48: f"set {named('clickhouse.events_table')} to a table that accepts inserts, not to a view",
    53: _COLUMNS,
    60: "create it with `trace-clustering schema --apply`, or set another in "
    f"{named('clickhouse.embeddings_table')} or {named('clickhouse.events_table')}",
    81: f"create the database, or set another in {named('clickhouse.url')} or "
    f"{named('output.database')}",
    139: _NO_DDL,
    _READ_ONLY: "the user is read-only: grant INSERT on the tables that are written, without "
    "readonly",
    192: "set another user in {url_setting}",
    194: "set {password_variable}",
    386: _COLUMNS,
    392: _NO_DDL,
    497: "grant it to the user: `trace-clustering schema --grants USER` prints all required rights "
    "but CREATE TABLE, which `schema --apply` needs",
    516: "check the user in {url_setting} and {password_variable}",
}
_SOURCE_COLUMNS = (
    "the raw traces lack a column that the source needs, or it has another type: "
    "`trace-clustering source NAME` shows the query"
)
# The same where the tables are those of raw traces.
_SOURCE_REMEDIES = {
    **_REMEDIES,
    **dict.fromkeys((16, 43, 47, 53, 386), _SOURCE_COLUMNS),
    60: f"set the table of the raw traces in {named('source.table')} or its database in "
    f"{named('source.database')}",
    62: "correct the query of the source",
    81: f"set the database of the raw traces in {named('source.database')}",
    456: "bind only database, team, since, until and team_attribute in the query of the source",
    _READ_ONLY: "the user may not limit a query's time: use a profile with readonly=2",
    497: "grant the user SELECT on the tables of the raw traces",
}

# The client logs each error with a traceback before it raises it.
logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)


@contextlib.contextmanager
def one_line_failures(
    warehouse: Warehouse, where_to_look: Callable[[int | None], str]
) -> Iterator[None]:
    """Turn errors into ``dagster.Failure``.

    Args:
        where_to_look: Returns the remedy for an error code that is not in ``_REMEDIES``, or for
            None if no answer came.
    """
    from clickhouse_connect.driver.exceptions import Error, ProgrammingError
    from pyarrow.lib import ArrowException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ProgrammingError as error:
        # the client raises it for a user with readonly=1, who may not limit a query's time
        raise _failure(warehouse, error, _READ_ONLY, where_to_look) from None
    except Error as error:
        raise _failure(warehouse, error, error.code, where_to_look) from None
    except (HTTPError, ArrowException, UnicodeDecodeError) as error:
        # the answer was cut off
        raise _failure(warehouse, error, None, where_to_look) from None


def how_to_write(warehouse: Warehouse, table: str, failure: dg.Failure) -> str:
    """Why a table of the output cannot be written, in one line. The remedy is for an installation
    that does not have the table yet."""
    problem, _, remedy = (failure.description or "").partition(" -> ")
    if not warehouse.is_embedded:
        remedy = (
            "create it with `trace-clustering schema --apply`, and GRANT SELECT, INSERT ON "
            f"{warehouse.output_database}.{table} to the user: `trace-clustering schema --grants "
            "USER` prints all rights"
        )
    return f"{problem} -> {remedy}"


def _failure(
    warehouse: Warehouse,
    error: Exception,
    code: int | None,
    where_to_look: Callable[[int | None], str],
) -> dg.Failure:
    # for a lost connection, show the cause: the message is about attempts and query ids
    cause = getattr(error.__cause__, "reason", None) or error
    is_source = isinstance(warehouse, SourceWarehouse)
    remedies = _SOURCE_REMEDIES if is_source else _REMEDIES
    remedy = remedies.get(code or 0, "").format(
        password_variable=warehouse.password_variable, url_setting=named(warehouse.url_setting)
    )
    # the remedies are about tables of a server; files have to be looked at
    has_remedy = remedy and (is_source or not warehouse.is_embedded)
    return dg.Failure(
        description=f"ClickHouse at {warehouse.url}: {first_line(cause)} -> "
        + (remedy if has_remedy else where_to_look(code)),
        allow_retries=not remedy,
    )


def first_line(error: Exception) -> str:
    """The first line of an error's message, at most 500 characters."""
    return next(iter(str(error).splitlines()), type(error).__name__)[:500]
