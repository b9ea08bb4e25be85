"""The answers expected from the language model, and which of them are usable."""

import contextlib
import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, create_model, model_validator

from trace_clustering_dagster.llm.chat import AnswerType
from trace_clustering_dagster.llm.text import normalized
from trace_clustering_dagster.titles.groups import Title, Wording

MIN_WORDS, MAX_WORDS = 3, 10
MAX_TITLE_CHARACTERS = 100
MAX_DESCRIPTION_CHARACTERS = 400


class GroupTitle(BaseModel):
    """What the model says of one group."""

    model_config = ConfigDict(extra="forbid")

    group_id: int
    title: str
    description: str


class GroupTitles(BaseModel):
    """The structured output that the model is asked for."""

    model_config = ConfigDict(extra="forbid")

    groups: list[GroupTitle]

    @model_validator(mode="before")
    @classmethod
    def _take_what_is_usable(cls, answer: Any) -> Any:
        """Accept answers that break the schema but are usable: a bare list, additional fields, and
        lists with some incomplete items."""
        groups = cls.model_fields["groups"]
        items = answer.get(groups.alias) if isinstance(answer, Mapping) else answer
        if not isinstance(items, list):
            return answer
        (one,) = get_args(groups.annotation)
        names = {field.alias for field in one.model_fields.values()}
        usable = []
        for item in items:
            with contextlib.suppress(ValidationError, AttributeError):
                known = {name: value for name, value in item.items() if name in names}
                usable.append(one.model_validate(known))
        return {groups.alias: usable}


def answer_type(wording: Wording) -> AnswerType[GroupTitles]:
    """The type of the answer, with field names in the caller's words.

    Each request sends the schema, including the names and docstrings of its classes.
    """
    names = {"group_id": f"{wording.group}_id", "groups": f"{wording.group}s"}
    named = {"alias_generator": lambda field: names.get(field, field)}
    one = create_model(
        "Label",
        __base__=GroupTitle,
        __doc__=f"What the model says of one {wording.group}.",
        __cls_kwargs__=named,
    )
    several: type[GroupTitles] = create_model(
        "Labels",
        __base__=GroupTitles,
        __doc__=GroupTitles.__doc__,
        __cls_kwargs__=named,
        groups=(list[one], ...),  # type: ignore[valid-type]
    )
    return AnswerType("labels", several, f"the answer has no list of {wording.group}s")


def title_of(answer: GroupTitle) -> Title:
    """The answer as a title: one line, with a truncated description."""
    description = one_line(answer.description)
    if len(description) > MAX_DESCRIPTION_CHARACTERS:
        description = description[: MAX_DESCRIPTION_CHARACTERS - 1] + "…"
    return Title(answer.group_id, one_line(answer.title), description, source="model")


def problem_of(title: Title, wording: Wording) -> str:
    """Why the title is unusable; "" if it is usable."""
    if not normalized(title.title):
        return "the title is empty"
    if re.fullmatch(rf"{wording.group} \d+", normalized(title.title)):
        return f"the title only numbers the {wording.group}"
    if _words(title.title) > MAX_WORDS or len(title.title) > MAX_TITLE_CHARACTERS:
        return (
            f"the title has {_words(title.title)} words and {len(title.title)} characters: at most "
            f"{MAX_WORDS} and {MAX_TITLE_CHARACTERS} are allowed"
        )
    if not normalized(title.description):
        return "the description is empty"
    return ""


def imperfection_of(title: Title) -> str:
    """What is wrong with a title that is usable if there is no better one; "" if nothing is."""
    if _words(title.title) < MIN_WORDS and title.title.isascii():
        return f"the title has fewer than {MIN_WORDS} words"
    return ""


def _words(text: str) -> int:
    return len(text.split())


def one_line(text: str) -> str:
    """One line, without control characters and marks that change the writing direction."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())
