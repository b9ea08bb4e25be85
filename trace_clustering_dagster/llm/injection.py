"""Detect prompt injection in text, and answers that follow it.

No list of phrases is complete. This one catches plain attempts in English. Against others, prompts
quote every text as data, and answers are checked.
"""

import re
import unicodedata
from collections.abc import Iterable

from trace_clustering_dagster.llm.text import normalized

_COMMANDS = re.compile(
    r"""(?imsx)
    \b(?:ignor|disregard|forget|overrid|bypass)(?:e|t|ing|ting)?\b .{0,40}
        \b(?:instruction|prompt|guideline|directive)s?\b
  | \b(?:ignore|disregard|forget)\s+(?:\w+\s+){0,2}(?:previous|prior|above|earlier)\s+
        (?:rule|command|message|direction)s\b
  | \b(?:ignore|disregard|forget)\s+(?:everything|anything|all|the)\s+
        (?:\w+\s+){0,3}(?:above|before|said\s+so\s+far)\b
  | \b(?:do\s+not|don.t|stop|never)\s+follow(?:ing)?\b .{0,30} \b(?:instruction|prompt)s?\b
  | \b(?:new|updated|real|actual)\s+(?:system\s+)?instructions?\s*:
  | \b(?:you\s+are|act)\s+now\s+(?:an?|in|the|no\s+longer|dan)\b
  | \bfrom\s+now\s+on,?\s+you\b
  | </?\s*(?:system|system_prompt|instructions?)\s*>
  | <\|\s*(?:im_start|im_end|system|endoftext) | \[/?INST\] | ^\#{2,}[ ]*instructions?\s*:
  | ^[ \t]{0,9}system\s+(?:prompt|message|note|override)\s*:
  | \b(?:title|label|name|call|rename)\s+(?:this|these|the|every|each|all)\s+
        (?:\w+\s+)?clusters?\b
  | \b(?:as|set)\s+(?:the|its|their|your)\s+(?:title|label|name)\s+(?:of|for|to)\b
  | \b(?:title|label|name)s?\s+(?:of|for)\s+(?:this|these|every|each|all)\s+(?:cluster|group)s?\b
  | \b(?:answer|reply|respond|output|say|print)\s+(?:only|just|exactly|nothing\s+but)?\s*
        (?:with\s+)?the\s+(?:word|phrase|title|label)s?\b
    """
)


def injection_in(text: str) -> str:
    """The text from the start of a prompt injection on; "" if there is none."""
    # letters of other widths and invisible characters would hide the words
    plain = "".join(
        c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf"
    )
    found = _COMMANDS.search(plain)
    return plain[found.start() :] if found else ""


def has_injection(texts: Iterable[str]) -> bool:
    """Whether one of the texts holds a prompt injection."""
    return any(map(injection_in, texts))


def follows_injection(answer: str, texts: Iterable[str]) -> bool:
    """Whether ``answer`` is a prompt injection, or is contained word for word in one of the
    texts' prompt injections."""
    wanted = normalized(answer)
    return bool(injection_in(answer)) or any(
        wanted and f" {wanted} " in f" {normalized(injection_in(text))} " for text in texts
    )
