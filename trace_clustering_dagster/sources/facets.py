"""Facets of a trace: one sentence each, by which traces can be clustered."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trace_clustering_dagster.llm.text import normalized

NOT_APPLICABLE = "not applicable"
_SAYS_NOTHING = {"", "not applicable", "n a", "none", "null", "unknown"}
# The fields of a summary have these names in the model's answer.
RESERVED = ("title", "flow_diagram", "bullets", "interesting_notes")
MAX_PROMPT_CHARACTERS = 1_000


@dataclass(frozen=True)
class Facet:
    """What a language model says of a trace in one sentence.

    Attributes:
        name: Also the field of the model's answer.
        prompt: What the sentence says.
        rendering: The rendering of its vectors in the embeddings table.
    """

    name: str
    prompt: str
    rendering: str


# A new facet is a new row. A changed prompt needs a new PROMPT_VERSION.
FACETS = (
    Facet(
        "intent",
        "What the user wanted to achieve, without how it went.",
        "llma_trace_intent",
    ),
    Facet(
        "outcome",
        "Whether the user got it, and what was delivered, refused or left open.",
        "llma_trace_outcome",
    ),
    Facet(
        "issues",
        "What went wrong: errors, failing tools, loops, wrong or missing answers. Without their "
        f'consequences for the mood. "{NOT_APPLICABLE}" if nothing did.',
        "llma_trace_issues",
    ),
    Facet(
        "sentiment",
        f'The mood of the user and what caused it. "{NOT_APPLICABLE}" if the user shows none.',
        "llma_trace_sentiment",
    ),
)


def chosen_facets(names: Iterable[str], own: Mapping[str, str]) -> tuple[Facet, ...]:
    """The facets of a run, in the order of their names in the table, then one's own.

    Args:
        names: Names of rows of the table.
        own: Prompts of other facets, by name.

    Raises:
        ValueError: A name or a prompt is unusable. The message is one line with the remedy.
    """
    known = {facet.name: facet for facet in FACETS}
    wanted = {name.strip().casefold() for name in names}
    for name in sorted(wanted - known.keys()):
        near = difflib.get_close_matches(name, known, n=1)
        use = near[0] if near else f"one of {', '.join(known)}, or give it a prompt in own_facets"
        raise ValueError(f"there is no facet {name[:100]!r}: use {use}")
    for name, prompt in own.items():
        if not re.fullmatch("[a-z][a-z0-9_]{0,39}", name) or name in {*known, *RESERVED}:
            raise ValueError(
                f"own_facets: {name[:100]!r} cannot name a facet: use up to 40 lower-case letters, "
                f"digits and underscores, and none of {', '.join((*known, *RESERVED))}"
            )
        if not 0 < len(prompt.strip()) <= MAX_PROMPT_CHARACTERS:
            raise ValueError(
                f"own_facets: the prompt of {name} has {len(prompt.strip())} characters: say in 1 "
                f"to {MAX_PROMPT_CHARACTERS} what its sentence says of a trace"
            )
    return (
        *(facet for facet in FACETS if facet.name in wanted),
        *(
            Facet(name, " ".join(prompt.split()), f"llma_trace_own_{name}")
            for name, prompt in own.items()
        ),
    )


def says_something(text: str) -> bool:
    """Whether a facet applies to its trace."""
    return normalized(text) not in _SAYS_NOTHING
