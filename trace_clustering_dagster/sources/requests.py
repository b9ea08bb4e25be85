"""Find what the user asks in a prompt that wraps it."""

import re

from trace_clustering_dagster.sources.parsing import CUT

# Characters looked at, at each end of a prompt
_ENDS = 2_000
# A prompt that is longer may ask its question at the end.
_LONG = 600

_BLOCKS = re.compile(
    r"<(context|documents?|system|instructions?|examples?|history|chat_history|search_results)\b"
    r".*?</\1\s*>",
    re.DOTALL | re.IGNORECASE,
)
_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_TAGGED = re.compile(
    r"<(question|query|request|task|user_(?:query|question|request|input|message))>"
    r"\s*(.*?)\s*</\1\s*>",
    re.DOTALL | re.IGNORECASE,
)
# Turns of a conversation that is one text
_TURN = re.compile(
    r"""(?: <\|im_start\|>user | <start_of_turn>user | <\|user\|> | \[INST\] | ^(?:Human|User):)
        \s*(.*?)\s*
        (?: <\|im_end\|> | <end_of_turn> | <\|(?:assistant|end)\|> | \[/INST\]
          | (?=^(?:AI|Assistant|Bot|Human|User):) | \Z )""",
    re.VERBOSE | re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
_LABELED = re.compile(
    r"""^[\s#*]{0,8}(?:the\ )?(?:user(?:'s)?\ |final\ |current\ |new\ |follow[- ]?up\ )?
        (?:question|query|request|task)[\s*]{0,4}:[\s*]{0,4}(.{3,})""",
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)


def request_in(text: str) -> str:
    """What the user asks, out of the context, the instructions and the marks around it."""
    if len(text) > 2 * _ENDS:
        text = text[:_ENDS] + CUT + text[-_ENDS:]
    whole = text
    text = _last(_TURN, text) or text
    text = _BLOCKS.sub(" ", text)
    text = _last(_TAGGED, text) or _CODE.sub(" [code] ", text)
    text = _last(_LABELED, text) or text
    paragraph = text.rstrip().rpartition("\n\n")[2]
    if len(text) > _LONG and len(paragraph) < _LONG // 2 and paragraph.endswith("?"):
        text = paragraph
    return text.strip() or whole


def _last(pattern: re.Pattern[str], text: str) -> str:
    texts = [found[found.lastindex or 0] for found in pattern.finditer(text)]
    return next(filter(None, reversed(texts)), "")
