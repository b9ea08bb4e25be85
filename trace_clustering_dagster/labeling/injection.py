"""Traces whose text speaks to the model that reads it, and titles that obey them.

No list of phrases is complete. It catches the plain attempts; those in other words are held back
by the prompt, which quotes every text as data, and show in the round trip of the labels.
"""

import re
from collections.abc import Iterable

from trace_clustering_dagster.labeling.text import normalized
from trace_clustering_dagster.models import TraceSummary

_COMMANDS = re.compile(
    r"""(?imsx)
    \b(?:ignore|disregard|forget|override|bypass|skip)\b .{0,30}
        \b(?:previous|prior|above|earlier|preceding|foregoing|your|all|any|the|system)\b .{0,30}
        \b(?:instruction|prompt|rule|guideline|direction|command|context|message)s?\b
  | \b(?:new|updated|real|actual|following)\s+(?:system\s+)?instructions?\s*(?::|are\b|follow)
  | </?\s*(?:system|instructions?|trace|traces|cluster|clusters|user|assistant)\s*/?>
  | <\|\s*(?:im_start|im_end|system|endoftext)
  | ^\s*(?:\#+\s*)?system(?:\s+(?:prompt|message|note|override))?\s*:
  | \b(?:title|label|name|call|rename|describe)\s+
        (?:this|these|the|every|each|all|any|your)\s+(?:\w+\s+)?(?:cluster|group|title|label|categor)
  | \b(?:cluster|title|label)s?\s+(?:must|should|has\s+to|have\s+to|shall)\s+(?:be|read|say)\b
    """
)


def texts(summary: TraceSummary) -> Iterable[str]:
    """All texts of a summary."""
    yield from (summary.title, summary.flow_diagram, *summary.bullets, *summary.interesting_notes)


def instructs_its_reader(summary: TraceSummary) -> bool:
    """Whether some text of the summary gives orders to whoever reads it."""
    return any(_COMMANDS.search(text) for text in texts(summary))


def is_commanded(text: str, summaries: Iterable[TraceSummary]) -> bool:
    """Whether ``text`` stands, word for word, only in summaries that instruct their reader."""
    wanted = normalized(text)
    ordinary = commanded = False
    for summary in summaries:
        if any(f" {wanted} " in f" {normalized(t)} " for t in texts(summary)):
            if instructs_its_reader(summary):
                commanded = True
            else:
                ordinary = True
    return bool(wanted) and commanded and not ordinary
