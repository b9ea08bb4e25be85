"""Why a chat model gave no answer, in one line with the remedy.

Messages of servers and proxies may repeat the API key. Only a code and the name of a parameter are
taken from them.
"""

import json
import re
from dataclasses import dataclass

# Codes: there is no model with this name; the request is too long for the model.
NO_MODEL, TOO_LONG = "model_not_found", "context_length_exceeded"
# The code of a status 429 that no waiting ends.
NO_QUOTA = "insufficient_quota"
_NO_HTML = "the server answered HTML: is OPENAI_BASE_URL right?"


class ModelFailureError(Exception):
    """The model gave no answer. The message is one line, without secrets or text of the server."""


class BudgetSpentError(ModelFailureError):
    """No request was sent, because it could break a limit of the budget."""


class BusyError(ModelFailureError):
    """The server asks for fewer requests at a time."""


@dataclass(frozen=True)
class ParameterNames:
    """The caller's names of its parameters, so that a failure can name the one to change."""

    model: str
    timeout_seconds: str
    max_tokens: str
    max_prompt_tokens: str
    max_cost: str = ""


def reason(error: Exception, model: str, parameters: ParameterNames) -> str:
    """Why a request to ``model`` failed."""
    import openai

    if isinstance(error, openai.APIStatusError):
        status = error.status_code
        if isinstance(error.body, str) and _is_html(error.body) and 400 <= status < 500:
            return f"HTTP status {status}, {_NO_HTML}"
        # Ollama and vLLM send no code
        if error.code == NO_MODEL or (status == 404 and model in str(error.body)):
            remedy = f"the server does not know {model}: check {parameters.model}"
            return f"HTTP status {status}, {remedy}"
        return status_reason(status, parameters, error.code, error.param)
    if isinstance(error, openai.APIConnectionError):
        return "the server cannot be reached: check OPENAI_BASE_URL"
    if isinstance(error, json.JSONDecodeError):
        return no_json_reason(error.doc)
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
            "redirects are not followed: set OPENAI_BASE_URL to the address of the server itself",
        ),
        401: "check OPENAI_API_KEY",
        403: "OPENAI_API_KEY may not use this model",
        404: f"check OPENAI_BASE_URL and {parameters.model}",
        413: shorter,
        429: "the server's rate limit or quota is used up",
    }
    remedy = remedies.get(status, "the server failed" if status >= 500 else "it was refused")
    return f"HTTP status {status}{words}, {shorter if code == TOO_LONG else remedy}"


def no_json_reason(text: str) -> str:
    """What is wrong with a response that has status 200 but is not JSON."""
    return _NO_HTML if _is_html(text) else "the server answered without JSON"


def _is_html(text: str) -> bool:
    return text.lstrip("\ufeff \t\r\n").startswith("<")
