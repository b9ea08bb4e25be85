"""What is measured of each topic and day. A new measure is a line of ``MEASURES``."""

from typing import Literal, NamedTuple

# How the values of a topic's traces become the value of a day:
#   count     how many traces it is true of; of a sample, scaled to all traces of the day
#   total     the sum; of a sample, scaled likewise
#   share     the part of the day's traces that it is true of
#   rate      the part of the topic's traces that it is true of
#   mean      the mean
#   median, p95   the quantile
#   distinct  how many different values there are; of a sample, those that were seen
Kind = Literal["count", "total", "share", "rate", "mean", "median", "p95", "distinct"]


class Measure(NamedTuple):
    """A number of a topic on a day.

    Attributes:
        name: As in the column ``measure``.
        value: SQL: what a trace has of it, null if that is unknown. It may use the columns of
            ``event_facts.sql``.
        unit: Of the value of a day.
        kind: How the traces' values become the day's.
        worse: 1 if more is worse, -1 if less is, 0 if neither.
        has_logs: Whether logarithms are summed, because the values are many times apart.
    """

    name: str
    value: str
    unit: str
    kind: Kind
    worse: Literal[-1, 0, 1] = 0
    has_logs: bool = False


MEASURES = (
    Measure("traces", "1", "traces", "count"),
    Measure("share", "1", "of the day's traces", "share"),
    Measure("users", "user", "users", "distinct"),
    Measure("sessions", "session", "sessions", "distinct"),
    Measure("errors", "has_error", "traces with a failed step", "count", worse=1),
    Measure("error_rate", "has_error", "of the topic's traces", "rate", worse=1),
    Measure("cost", "cost", "US dollars", "total", worse=1, has_logs=True),
    Measure("cost_mean", "cost", "US dollars a trace", "mean", worse=1, has_logs=True),
    Measure("tokens", "input_tokens + output_tokens", "tokens", "total", worse=1),
    Measure("input_tokens", "input_tokens", "tokens", "total", worse=1),
    Measure("output_tokens", "output_tokens", "tokens", "total", worse=1),
    Measure("latency", "latency / 1e6", "seconds", "mean", worse=1, has_logs=True),
    Measure("latency_median", "latency / 1e6", "seconds", "median", worse=1, has_logs=True),
    Measure("latency_p95", "latency / 1e6", "seconds", "p95", worse=1, has_logs=True),
    Measure("score", "score", "from 0 to 1", "mean", worse=-1),
    Measure("feedback", "has_feedback", "traces with a score or feedback", "count"),
)
