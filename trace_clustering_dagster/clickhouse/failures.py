"""Turn errors of ClickHouse and its client into one line that ends with the remedy."""

import contextlib
import logging
from collections.abc import Callable, Iterator

import dagster as dg

from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.settings import named

_READ_ONLY = 164
_NO_DDL = (
    "ON CLUSTER does not work there: delete the events on each server with the statement in "
    "docs/production.md, then forget the team again"
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
    60: "create the table (`trace-clustering schema` prints the SQL), or set another in "
    f"{named('clickhouse.embeddings_table')} or {named('clickhouse.events_table')}",
    81: f"create the database, or set another in {named('clickhouse.url')} or "
    f"{named('output.database')}",
    139: _NO_DDL,
    _READ_ONLY: "the user is read-only: grant INSERT on the events table, without readonly",
    192: f"set another user in {named('clickhouse.url')}",
    194: "set {password_variable}",
    386: _COLUMNS,
    392: _NO_DDL,
    497: "grant it to the user: `trace-clustering schema --grants USER` prints all required rights",
    516: f"check the user in {named('clickhouse.url')} and {{password_variable}}",
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


def _failure(
    warehouse: Warehouse,
    error: Exception,
    code: int | None,
    where_to_look: Callable[[int | None], str],
) -> dg.Failure:
    # for a lost connection, show the cause: the message is about attempts and query ids
    cause = getattr(error.__cause__, "reason", None) or error
    remedy = _REMEDIES.get(code or 0, "").format(password_variable=warehouse.password_variable)
    return dg.Failure(
        description=f"ClickHouse at {warehouse.url}: {first_line(cause)} -> "
        + (remedy or where_to_look(code)),
        allow_retries=not remedy,
    )


def first_line(error: Exception) -> str:
    """The first line of an error's message, at most 500 characters."""
    return next(iter(str(error).splitlines()), type(error).__name__)[:500]
