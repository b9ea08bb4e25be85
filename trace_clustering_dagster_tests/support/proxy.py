"""A small TCP proxy before a server: connections go wrong at a chosen point."""

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# a socket that lingers for no time is reset when it is closed
_NO_TIME = struct.pack("ii", 1, 0)


@dataclass
class Fault:
    """What goes wrong with the requests that hold ``marker``.

    Attributes:
        passes: How many bytes of the answer pass before it happens: with 0, the server has done
            what was asked, and nobody is told. None: before the server is asked.
        happens: Is called at that point.
        resets: Whether the connection is reset then; if not, it goes on.
        times: How many requests it befalls.
        happened: How many it has befallen.
    """

    marker: bytes
    passes: int | None = 0
    happens: Callable[[], Any] = lambda: None
    resets: bool = True
    times: int = 1
    happened: int = 0

    def befalls(self, data: bytes) -> bool:
        if self.times and self.marker in data:
            self.times -= 1
            return True
        return False

    def happen(self) -> None:
        self.happened += 1
        self.happens()


class Proxy(socketserver.ThreadingTCPServer):
    """Passes on what is asked and answered, but for its ``faults``."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, upstream_port: int, port: int = 0) -> None:
        self.faults: list[Fault] = []
        self.upstream_port = upstream_port
        super().__init__(("127.0.0.1", port), _Connection)
        self.port: int = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def server_close(self) -> None:
        self.shutdown()
        super().server_close()


class _Connection(socketserver.BaseRequestHandler):
    server: Proxy
    request: socket.socket

    def handle(self) -> None:
        self.fault: Fault | None = None
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.server.upstream_port)) as upstream,
        ):
            threading.Thread(target=self.answer, args=(upstream,), daemon=True).start()
            while data := self.request.recv(65536):
                fault = next((fault for fault in self.server.faults if fault.befalls(data)), None)
                if fault:
                    self.fault, self.room = fault, fault.passes
                    if self.room is None and not self.go_wrong():
                        return
                upstream.sendall(data)

    def answer(self, upstream: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := upstream.recv(65536):
                if self.fault and self.room is not None:
                    self.request.sendall(data[: self.room])
                    data, self.room = data[self.room :], max(self.room - len(data), 0)
                    if not self.room and not self.go_wrong():
                        return
                self.request.sendall(data)
            self.request.shutdown(socket.SHUT_RDWR)

    def go_wrong(self) -> bool:
        """Whether the connection goes on."""
        assert self.fault
        fault, self.fault = self.fault, None
        fault.happen()
        if fault.resets:
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_TIME)
            # wakes who reads from it: else it would stay open until then
            self.request.shutdown(socket.SHUT_RD)
            self.request.close()
        return not fault.resets
