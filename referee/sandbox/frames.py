"""Messages over a stream of bytes: a length of 4 bytes, big-endian, and the message.

Both ends use this; what the other end sends never costs more than LARGEST_FRAME_BYTES of memory.
"""

from __future__ import annotations

import math
import socket
import struct
import time
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError

if TYPE_CHECKING:
    from google.protobuf.message import Message

    AnyMessage = TypeVar("AnyMessage", bound=Message)

LARGEST_FRAME_BYTES = 64 << 10
_LENGTH = struct.Struct(">I")


class FrameError(Exception):
    """The other end sent what is no frame."""


class ClosedError(Exception):
    """The other end is gone."""


def send(connection: socket.socket, message: Message, deadline: float = math.inf) -> None:
    """Send one frame until `deadline`, by time.monotonic.

    Raises TimeoutError, ClosedError.
    """
    body = message.SerializeToString()
    connection.settimeout(_left(deadline))
    try:
        connection.sendall(_LENGTH.pack(len(body)) + body)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise ClosedError from error


def receive(
    connection: socket.socket, kind: type[AnyMessage], deadline: float = math.inf
) -> AnyMessage:
    """Return the next frame until `deadline`, by time.monotonic.

    Raises TimeoutError, ClosedError, FrameError.
    """
    (size,) = _LENGTH.unpack(_read(connection, _LENGTH.size, deadline))
    if not 0 < size <= LARGEST_FRAME_BYTES:
        raise FrameError(f"a frame of {size} bytes; it may have 1 to {LARGEST_FRAME_BYTES}")
    try:
        message = kind.FromString(_read(connection, size, deadline))
    except DecodeError as error:
        raise FrameError(f"a frame of {size} bytes that is no {kind.__name__}") from error
    if message.WhichOneof("message") is None:
        raise FrameError(f"a {kind.__name__} that says nothing")
    return message


def has_more(connection: socket.socket) -> bool:
    """Say whether something is there to be read."""
    connection.settimeout(0)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except (BlockingIOError, ConnectionResetError):
        return False


def _read(connection: socket.socket, size: int, deadline: float) -> bytes:
    read = bytearray()
    while len(read) < size:
        connection.settimeout(_left(deadline))
        try:
            part = connection.recv(size - len(read))
        except ConnectionResetError as error:
            raise ClosedError from error
        if not part:
            raise ClosedError
        read += part
    return bytes(read)


def _left(deadline: float) -> float | None:
    """Return the seconds that are left; None is as long as it takes."""
    if deadline == math.inf:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
