"""An object store for the tests: moto's S3 server over HTTP, which can fail on demand."""

import datetime
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import WSGIRequestHandler, make_server

ACCOUNT = "123456789012"  # moto's own
Environ = dict[str, Any]
Fault = Callable[[Environ, Any], Iterable[bytes]]


@dataclass
class ObjectStore:
    """S3 on a port of its own; what ``faults`` says of a request comes before moto's answer."""

    faults: Callable[[str], Fault | None] = lambda request: None
    """The fault for a request such as ``PUT /bucket/key``, or None."""
    requests: list[str] = field(default_factory=list)
    listings: list[str] = field(default_factory=list)
    """The prefixes that were listed."""

    def __post_init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=_Silent
        )
        self.url = f"http://127.0.0.1:{self._server.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def objects(self, bucket: str) -> dict[str, bytes]:
        """What is stored, by key."""
        keys = s3_backends[ACCOUNT]["aws"].buckets[bucket].keys
        return {name: key.value for name, key in keys.items()}

    def buckets(self) -> set[str]:
        return set(s3_backends[ACCOUNT]["aws"].buckets)

    def make_bucket(self, bucket: str) -> None:
        s3_backends[ACCOUNT]["aws"].create_bucket(bucket, "us-east-1")

    def put(self, bucket: str, key: str) -> None:
        """Store an object."""
        s3_backends[ACCOUNT]["aws"].put_object(bucket, key, b"value")

    def age(self, bucket: str, time: datetime.timedelta) -> None:
        """Make all objects of a bucket older."""
        for key in s3_backends[ACCOUNT]["aws"].buckets[bucket].keys.values():
            key.last_modified -= time

    def _answer(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        self.requests.append(request)
        query = parse_qs(environ["QUERY_STRING"])
        if "list-type" in query:
            self.listings += query.get("prefix", [""])
        if fault := self.faults(request):
            return fault(environ, start_response)
        answer: Iterable[bytes] = self._moto(environ, start_response)
        return answer


class _Silent(WSGIRequestHandler):
    def log(self, *args: Any, **kwargs: Any) -> None:
        pass


def refusal(status: str, code: str, message: str) -> Fault:
    """The fault of an answer with an error of S3's."""

    def answer(environ: Environ, start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(status, [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()]

    return answer


SLOW_DOWN = refusal("503 Slow Down", "SlowDown", "Please reduce your request rate.")
INTERNAL_ERROR = refusal("500 Internal Server Error", "InternalError", "We had an internal error.")
WRONG_KEY = refusal("403 Forbidden", "InvalidAccessKeyId", "The AWS Access Key Id does not exist.")


def cut(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """The fault of a connection that is cut in the midst of an upload."""
    environ["wsgi.input"].read(10)
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionError
