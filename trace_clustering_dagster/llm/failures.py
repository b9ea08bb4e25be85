"""Why a model gave no answer, in one line with the remedy.

Messages of servers and proxies may repeat the API key. Only a code and the name of a parameter are
taken from them.
"""

import json
import re
from dataclasses import dataclass

# Codes: there is no model with this name; the request is too long for the model; the account has
# no money left.
NO_MODEL, TOO_LONG = "model_not_found", "context_length_exceeded"
NO_MONEY = "insufficient_quota"


class ModelFailureError(Exception):
    """The model gave no answer. The message is one line, without secrets or text of the server.

    Attributes:
        retry_helps: Whether the same request may succeed later.
    """

    def __init__(self, message: str, retry_helps: bool = False) -> None:
        super().__init__(message)
        self.retry_helps = retry_helps


class BudgetSpentError(ModelFailureError):
    """No request was sent, because it could break a limit of the budget."""


class BusyError(ModelFailureError):
    """The server asks for fewer requests at a time."""


@dataclass(frozen=True)
class ParameterNames:
    """The caller's names of its parameters, so that a failure can name the one to change.

    ``base_url`` and ``api_key`` are the environment variables of the server.
    """

    model: str
    timeout_seconds: str
    max_tokens: str
    max_prompt_tokens: str
    max_cost: str = ""
    base_url: str = "OPENAI_BASE_URL"
    api_key: str = "OPENAI_API_KEY"


def reason(error: Exception, model: str, parameters: ParameterNames) -> str:
    """Why a request to ``model`` failed."""
    import openai

    if isinstance(error, openai.APIStatusError):
        status = error.status_code
        if isinstance(error.body, str) and _is_html(error.body) and 400 <= status < 500:
            return f"HTTP status {status}, {_no_html(parameters)}"
        # Ollama and vLLM send no code
        if error.code == NO_MODEL or (status == 404 and model in str(error.body)):
            remedy = f"the server does not know {model}: check {parameters.model}"
            return f"HTTP status {status}, {remedy}"
        return status_reason(status, parameters, error.code, error.param)
    if isinstance(error, openai.APIConnectionError):
        return f"the server cannot be reached: check {parameters.base_url}"
    if isinstance(error, json.JSONDecodeError):
        return no_json_reason(error.doc, parameters)
    # any other error, such as of a proxy or a certificate; its text may hold a secret
    return f"the request failed with {type(error).__name__}"


def status_reason(
    status: int, parameters: ParameterNames, code: object = None, parameter: object = None
) -> str:
    """Why the server answered a request with an HTTP error status."""
    # a code is a word such as insufficient_quota; any other text could contain the key
    words = "".join(
        f" {word}"
        for word in (code, parameter)
        if isinstance(word, str) and re.fullmatch("[a-z_]{3,40}", word)
    )
    shorter = f"lower {parameters.max_prompt_tokens}"
    remedies = {
        **dict.fromkeys(
            (301, 302, 303, 307, 308),
            f"redirects are not followed: set {parameters.base_url} to the address of the server "
            "itself",
        ),
        401: f"check {parameters.api_key}",
        403: f"{parameters.api_key} may not use this model",
        404: f"check {parameters.base_url} and {parameters.model}",
        413: shorter,
        429: "the server's rate limit or quota is used up",
    }
    remedy = remedies.get(status, "the server failed" if status >= 500 else "it was refused")
    return f"HTTP status {status}{words}, {shorter if code == TOO_LONG else remedy}"


def timeout_reason(limit: str, last_status: int, parameters: ParameterNames) -> str:
    """What is wrong with a server that did not answer in time.

    Args:
        limit: The time, such as ``label_timeout_seconds=120``.
        last_status: The last HTTP status that it did answer with; 0 if there is none.
    """
    last = f"; its last answer was: {status_reason(last_status, parameters)}"
    return f"no answer within {limit}" + (last if last_status >= 400 else "")


def no_json_reason(text: str, parameters: ParameterNames) -> str:
    """What is wrong with a response that has status 200 but is not JSON."""
    return _no_html(parameters) if _is_html(text) else "the server answered without JSON"


def _no_html(parameters: ParameterNames) -> str:
    return f"the server answered HTML: is {parameters.base_url} right?"


def _is_html(text: str) -> bool:
    return text.lstrip("\ufeff \t\r\n").startswith("<")
