"""Holds the network of a pod for its container, as the pause container of a real pod does.

`python pause.py FDS COMMAND...` runs a command and ends with its exit code. Meanwhile whatever
connects to the sockets FDS, which belong to the network outside, is led to the same port here, as
soon as anybody listens there. It imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time

_RETRY_S = 0.02
_DRAIN_S = 5.0


def main(fds: str, command: list[str]) -> int:
    """Run the command; return its exit code, 128 + n where signal n ended it."""
    leaving: list[threading.Thread] = []
    for fd in fds.split(",") if fds else ():
        door = socket.socket(fileno=int(fd))
        threading.Thread(target=_admit, args=(door, leaving), daemon=True).start()
    code = subprocess.call(command)
    until = time.monotonic() + _DRAIN_S
    # What the container said last is still on its way.
    for thread in tuple(leaving):
        thread.join(max(0, until - time.monotonic()))
    return 128 - code if code < 0 else code


def _admit(door: socket.socket, leaving: list[threading.Thread]) -> None:
    while True:
        outside, _ = door.accept()
        inside = _connected(door.getsockname()[1])
        threading.Thread(target=_pump, args=(outside, inside), daemon=True).start()
        out = threading.Thread(target=_pump, args=(inside, outside), daemon=True)
        out.start()
        leaving.append(out)


def _connected(port: int) -> socket.socket:
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(_RETRY_S)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
