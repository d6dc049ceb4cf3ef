"""A client that costs little, so that what is measured is the server."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any


@dataclass
class Connection:
    """One kept-alive HTTP/1.1 connection of one caller; requests go one at a time."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    port: int
    token: str = ""

    @classmethod
    async def open(cls, port: int, token: str = "") -> Connection:
        """Connect to the loopback interface."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
        return cls(reader, writer, port, token)

    async def request(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Send one request and return status and body; bytes go as they are, all else as JSON."""
        payload = body if isinstance(body, bytes) else _json(body)
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
        head += f"Content-Length: {len(payload)}\r\n"
        if payload:
            head += "Content-Type: application/json\r\n"
        if self.token:
            head += f"Authorization: Bearer {self.token}\r\n"
        self.writer.write(head.encode() + b"\r\n" + payload)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        lines = answer.decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
        length = int(headers.get("content-length", 0))
        return int(lines[0].split()[1]), await self.reader.readexactly(length)

    async def json(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Send one request, insist on success and return the parsed answer."""
        status, answer = await self.request(method, path, body)
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {answer.decode()}")
        return json.loads(answer) if answer else None

    def close(self) -> None:
        """Close the connection."""
        self.writer.close()


def _json(body: object) -> bytes:
    return b"" if body is None else json.dumps(body).encode()
