"""Find what went wrong in a step that failed."""

from trace_clustering_dagster.sources.messages import Message, read_messages
from trace_clustering_dagster.sources.parsing import parse
from trace_clustering_dagster.sources.steps import Step
from trace_clustering_dagster.sources.texts import clean

_KEYS = ("message", "error", "detail", "details", "reason", "msg")
# A query keeps so many characters of an error.
_LONGEST = 2_000


def error_of(step: Step) -> Message:
    """The message of an error, out of JSON or a traceback; what the step returned if there is
    none."""
    parsed = parse(step.error)
    error = parsed.value
    for _ in range(3):
        if isinstance(error, dict):
            error = next((error[key] for key in _KEYS if error.get(key)), parsed.text)
    text = error if isinstance(error, str) else parsed.text if error is not None else ""
    if text.startswith("Traceback"):
        text = text.rstrip().rpartition("\n")[2]
    if text := clean(text):
        cut_off = parsed.cut_off or len(step.error) >= _LONGEST
        return Message("tool", text, cut_off=cut_off)
    return next(iter(read_messages(step.output, "tool")), Message("tool", ""))
