"""The servers of the models: addresses, a client, and a test request.

Only this module reads the environment, each time that a server is asked.
"""

import asyncio
import functools
import importlib
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any, TypeVar

from trace_clustering_dagster.llm.failures import ParameterNames, no_json_reason, reason

if TYPE_CHECKING:
    import ssl

    import openai

T = TypeVar("T")

NOT_CONFIGURED = "no model is configured: set OPENAI_API_KEY, or OPENAI_BASE_URL for another server"
# The setting with the address of an embedder's own server, and the variable with its key: it never
# gets the key of the chat model's server.
EMBEDDING_URL = "TRACE_CLUSTERING_EMBEDDING_URL"
EMBEDDING_KEY = "TRACE_CLUSTERING_EMBEDDING_API_KEY"
# From Python 3.11 on these are the same class.
TIMEOUTS = (asyncio.TimeoutError, FutureTimeoutError)


def server_url() -> str:
    """The base URL of the server."""
    return _variable("OPENAI_BASE_URL") or "https://api.openai.com/v1"


def is_configured() -> bool:
    """Whether the environment names a server of a language model, or a key."""
    return bool(_variable("OPENAI_API_KEY") or _variable("OPENAI_BASE_URL"))


def _variable(name: str) -> str:
    # an empty variable counts as unset
    return os.environ.get(name, "").strip()


def client(
    seconds: float, retries: int, hooks: Mapping[str, Any], own_url: str = ""
) -> "openai.AsyncOpenAI":
    """A client for the server, which follows no redirects.

    Args:
        seconds: Timeout of one request.
        hooks: Event hooks of httpx, called with each request and response.
        own_url: Base URL of an embedder's own server; "" for the server of the chat model.
    """
    import openai

    # the client logs whole URLs, and a URL may hold a password
    for name in ("httpx", "httpx2", "httpcore", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return openai.AsyncOpenAI(
        # self-hosted servers often need no key, but the client requires one
        api_key=_variable(EMBEDDING_KEY if own_url else "OPENAI_API_KEY") or "none",
        base_url=own_url or server_url(),
        timeout=seconds,
        max_retries=retries,
        # text goes to the configured server and to no other
        http_client=openai.DefaultAsyncHttpxClient(
            verify=_tls_context(), event_hooks=hooks, follow_redirects=False
        ),
    )


@functools.cache
def _tls_context() -> "ssl.SSLContext":
    """The context that httpx would make for each client, which takes longer than the rest of it."""
    import openai

    # the package is httpx, or httpx2 in newer versions of openai
    package = openai.DefaultAsyncHttpxClient.__bases__[0].__module__.partition(".")[0]
    context: ssl.SSLContext = importlib.import_module(package).create_ssl_context()
    return context


def within(seconds: float, request: Callable[[], Awaitable[Any]]) -> Any:
    """The answer to the request.

    Raises:
        TIMEOUTS: There is no answer after ``seconds``.
    """
    if seconds <= 0:
        raise FutureTimeoutError
    # The client's own timeouts restart with every byte, and a host name lookup cannot be canceled,
    # but a separate thread can be abandoned.
    answer = in_thread(lambda: asyncio.run(asyncio.wait_for(request(), seconds)))
    return answer.result(timeout=seconds + 1)


def in_thread(work: Callable[[], T]) -> Future[T]:
    """Do the work in a thread of its own. It can be abandoned: the process does not wait for it."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return result


def ask_briefly(model: str, seconds: float, parameters: ParameterNames) -> str:
    """Send the model one short request, without retries.

    Returns:
        The problem, in one line without secrets or text of the server; "" if the model answered.
    """
    import openai

    async def ask() -> Any:
        async with client(seconds, 0, {}) as opened:
            return await opened.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "Answer with the word: ready"}]
            )

    try:
        completion = within(seconds, ask)
    except (*TIMEOUTS, openai.APITimeoutError):
        return f"no answer within {seconds:g} seconds"
    except Exception as error:
        return reason(error, model, parameters)
    if isinstance(completion, str):
        return no_json_reason(completion, parameters)
    answered = getattr(completion, "choices", None)
    return "" if answered else "the server answered without a completion: is OPENAI_BASE_URL right?"
