"""What stands before the pods of a Service: each connection goes to one that is ready."""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import socketserver
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK_BYTES = 1 << 16


def carry(here: socket.socket, there: socket.socket) -> None:
    """Carry bytes both ways until either side has ended."""
    ends = {here: there, there: here}
    with contextlib.suppress(OSError):
        while True:
            for end in select.select(list(ends), [], [])[0]:
                data = end.recv(_CHUNK_BYTES)
                if not data:
                    return
                ends[end].sendall(data)


class Front:
    """Listens on `address`:`port`, and takes each connection to a port of the pods.

    `resolve` answers with the addresses of those that are ready.
    """

    def __init__(
        self, address: str, port: int, resolve: Callable[[], list[str]], target_port: int
    ) -> None:
        turn = itertools.count()

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                found = resolve()
                if not found:
                    return
                target = (found[next(turn) % len(found)], target_port)
                with contextlib.suppress(OSError), socket.create_connection(target) as there:
                    carry(self.request, there)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 128

        self._server = Server((address, port), Handler)
        self.url = f"http://{address}:{port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
