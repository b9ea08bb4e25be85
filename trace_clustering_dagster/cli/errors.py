"""Turn errors into the one line that a failed command prints."""

from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def failures_as_one_line() -> Iterator[None]:
    """Turn failures of the graph and invalid values into click's errors, which have no
    traceback."""
    import dagster as dg
    from pydantic import ValidationError

    try:
        yield
    except dg.Failure as failure:
        raise click.ClickException(failure.description or "failed") from None
    except ValidationError as error:
        reasons = (e["msg"].removeprefix("Value error, ") for e in error.errors())
        raise click.ClickException("; ".join(reasons)) from None
    except ValueError as error:
        raise click.ClickException(str(error)) from None
