"""The base class of all run parameters.

The parameters of all rooms are fields of one resource, so that one override in the Launchpad or in
``--config-json`` reaches every asset that uses the parameter.
"""

import copy
import difflib
from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import ValidationError, create_model
from typing_extensions import Self

# Marks a field that decides which traces are clustered, or how. Changing it makes a run explore.
DECIDES: dict[str, Any] = {"decides": True}


class Params(dg.ConfigurableResource[Any]):
    """Parameters of a run.

    Raises:
        dagster.Failure: one line that names an invalid value or combination of values. Dagster
            builds resources before the first asset runs, so no work is lost.
    """

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise dg.Failure(_in_one_line(error), allow_retries=False) from None

    @classmethod
    def of_deployment(cls, values: Mapping[str, Any]) -> Self:
        """A resource whose defaults are the deployment's parameters, so that a run's config
        overrides single ones. If the values were plain constructor arguments, a run's config would
        replace them all.

        Raises:
            dagster.Failure: a parameter is unknown, or a value or a combination is invalid.
        """
        for name in values.keys() - cls.model_fields.keys():
            near = difflib.get_close_matches(name, cls.model_fields, n=1)
            use = near[0] if near else "one that `trace-clustering settings` lists"
            raise dg.Failure(f"there is no parameter {name[:100]}: use {use}", allow_retries=False)
        given = cls(**values)
        fields: dict[str, Any] = {}
        for name in values:
            field = copy.copy(cls.model_fields[name])
            field.default = getattr(given, name)
            fields[name] = (field.annotation, field)
        deployment: Any = create_model(cls.__name__, __base__=cls, __doc__=cls.__doc__, **fields)
        return deployment()  # type: ignore[no-any-return]

    def overridden_by(self, config: Mapping[str, Any]) -> Self:
        """The parameters of a run with this config.

        Raises:
            dagster.Failure: the config is invalid.
        """
        fields = type(self).model_fields
        return type(self)(**{name: getattr(self, name) for name in fields} | dict(config))

    def deciding(self) -> dict[str, Any]:
        """The parameters that decide which traces a run clusters, and how."""
        return {
            name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if field.json_schema_extra == DECIDES
        }


def _in_one_line(error: ValidationError) -> str:
    """The first invalid value, what is wrong with it, and the remedy."""
    wrong: Any = error.errors(include_url=False)[0]
    if wrong["type"] == "value_error":
        return str(wrong["ctx"]["error"])
    name = str(wrong["loc"][0])
    limits = wrong.get("ctx", {})
    remedies = {
        "greater_than_equal": "is too small: use {ge:g} or more",
        "less_than_equal": "is too large: use {le:.12g} or less",
        "literal_error": "is unknown: use {expected}",
        "finite_number": "is not finite: use a number",
    }
    template = remedies.get(wrong["type"], "is invalid: {message}")
    problem = template.format(**limits, message=wrong["msg"])
    return f"{name}={str(wrong['input'])[:100]} {problem}"
