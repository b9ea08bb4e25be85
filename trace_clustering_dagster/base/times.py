"""Format and parse times; UTC days."""

import datetime

UTC = datetime.timezone.utc


def utc(time: datetime.datetime) -> str:
    """Format a time as RFC 3339 in UTC with ``Z``; fractional seconds only if not zero."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_time(text: str) -> datetime.datetime:
    """Parse an RFC 3339 time to UTC.

    Raises:
        ValueError: it is not a time, has no UTC offset, or is not between 1970 and 2200.
    """
    remedy = "use RFC 3339 with an offset, such as 2026-01-31T00:00:00Z"
    try:
        # fromisoformat accepts a trailing Z since Python 3.11
        time = datetime.datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
    except ValueError:
        raise ValueError(f"{text[:100]} is not a time: {remedy}") from None
    if time.tzinfo is None:
        raise ValueError(f"{text} has no UTC offset: {remedy}")
    if not 1970 <= time.year < 2200:
        raise ValueError(f"{text} is not between 1970 and 2200: {remedy}")
    return time.astimezone(UTC)


def yesterday() -> datetime.date:
    """The newest UTC day that has ended."""
    return datetime.datetime.now(UTC).date() - datetime.timedelta(days=1)


def midnight(day: datetime.date) -> datetime.datetime:
    """The start of a UTC day."""
    return datetime.datetime.combine(day, datetime.time(), UTC)


def end_of(day: datetime.date) -> datetime.datetime:
    """The end of a UTC day, exclusive."""
    return midnight(day + datetime.timedelta(days=1))
