"""A server of models on the loopback interface that answers as a test tells it to."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

KEY = "sk-test-0123456789abcdef"
Answer = Callable[[dict[str, Any]], tuple[int, Any]]

TOPICS = (
    ("Refund for a cancelled flight", "The customer wants the money for a ticket back"),
    ("Unit tests for a Python module", "The developer asks for pytest cases with coverage"),
    ("Hotel near the central station", "The guest compares rooms with breakfast"),
)
TITLES = (
    "Refunds of cancelled flights",
    "Pytest unit tests for Python modules",
    "Hotel rooms near the station",
)


@dataclass
class ModelServer:
    """Answers as told, and keeps what it was asked. ``stop`` is set when the test is over."""

    answer: Answer
    embed: Answer = field(default_factory=lambda: embed_well)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    trickle: bool = False
    stop: threading.Event = field(default_factory=threading.Event)


def completion(content: str | None, **message: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "test-model",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": content, **message},
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }


def asked(request: dict[str, Any]) -> dict[str, Any]:
    """The data of a request."""
    data: dict[str, Any] = json.loads(request["messages"][1]["content"])
    return data


def good_label(cluster: dict[str, Any]) -> dict[str, Any]:
    """What a good model would say: it goes by the traces' titles."""
    titles = json.dumps(cluster["nearest_traces"])
    topic = next(
        (i for i, (title, _) in enumerate(TOPICS) if title.split(maxsplit=1)[0] in titles), 0
    )
    return {
        "cluster_id": cluster["cluster_id"],
        "title": TITLES[topic],
        "description": f"{TOPICS[topic][1]}.",
    }


def answers(*labels: dict[str, Any]) -> tuple[int, Any]:
    return 200, completion(json.dumps({"clusters": list(labels)}))


def answer_well(request: dict[str, Any]) -> tuple[int, Any]:
    return answers(*(good_label(cluster) for cluster in asked(request)["clusters"]))


def vector_of(text: str, dimension: int = 8) -> list[float]:
    """Made up, of its own length, the same for equal texts."""
    return [float(byte) + 1 for byte in hashlib.sha256(text.encode()).digest()[:dimension]]


def embeddings(*vectors: Any) -> dict[str, Any]:
    items = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": 7 * len(items), "total_tokens": 7 * len(items)}
    return {"object": "list", "model": "test-model", "data": items, "usage": usage}


def embed_well(request: dict[str, Any]) -> tuple[int, Any]:
    return 200, embeddings(*map(vector_of, request["input"]))


def always(**changed: Any) -> Answer:
    """Good labels, but for what is changed in cluster 1's."""

    def answer(request: dict[str, Any]) -> tuple[int, Any]:
        labels = [good_label(cluster) for cluster in asked(request)["clusters"]]
        return answers(*(la | changed if la["cluster_id"] == 1 else la for la in labels))

    return answer


@pytest.fixture
def model_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    server = ModelServer(answer_well)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append({"authorization": self.headers["Authorization"], **request})
            is_embedding = self.path.endswith("/embeddings")
            status, body = (server.embed if is_embedding else server.answer)(request)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            # the client waits this long before it tries again, instead of its own half second
            for name, value in ({"retry-after-ms": "1"} | server.headers).items():
                self.send_header(name, value)
            self.end_headers()
            while server.trickle and not server.stop.wait(0.02):
                self.wfile.write(b" ")
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A client that gave up is none."""

    http = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{http.server_address[1]}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    yield server
    server.stop.set()
    http.shutdown()
    thread.join()
    http.server_close()
