"""Send stored files: whole with the digest checked on the way, or in part as HTTP Range asks."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from kit import errors
from kit.db import server_now
from services.registry.artifacts import CHANGED, MISSING
from services.registry.models.checkpoint import corrupt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from datetime import datetime

    import grpc

    from kit.db import Sessions
    from services.registry.artifacts import ArtifactStore
    from services.registry.disposal import Disposal
    from services.registry.models.checkpoint import Artifact

PIECE_BYTES = 256 << 10

# A file that was whole a moment ago is not read again for every part of it.
_TRUST_S = 600
_MAX_TRUSTED = 1000
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


@dataclass(frozen=True)
class Span:
    """The bytes `start`..`end` (exclusive) of a file."""

    start: int
    end: int


def parse_range(header: str, size_bytes: int) -> Span | None:
    """Return the part that a Range header asks for; None asks for the whole file.

    As HTTP has it, what is not one range of bytes is ignored. Raises RANGE_NOT_SATISFIABLE.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size_bytes - int(last)), size_bytes
    else:
        start, end = int(first), min(int(last) + 1 if last else size_bytes, size_bytes)
        if last and int(last) < start:
            return None
    if start >= end:
        raise errors.out_of_range(
            f"range: {header} lies outside the file of {size_bytes} bytes",
            reason="RANGE_NOT_SATISFIABLE",
            http_status=416,
            size_bytes=size_bytes,
        )
    return Span(start, end)


class Downloads:
    """Streams of stored files."""

    def __init__(self, sessions: Sessions, store: ArtifactStore, disposal: Disposal) -> None:
        self._sessions = sessions
        self._store = store
        self._disposal = disposal
        self._trusted: dict[str, float] = {}

    async def verify(self, artifact: Artifact) -> None:
        """Read the whole file; raise CHECKPOINT_CORRUPT when it is not what was stored."""
        why = await self._disposal.verify(artifact.sha256, artifact.size_bytes)
        if why:
            raise corrupt(artifact.sha256, why)

    async def stream(
        self, artifact: Artifact, context: grpc.aio.ServicerContext, *, name: str
    ) -> AsyncIterator[bytes]:
        """Send the HTTP headers, then yield the bytes that the caller's Range asks for.

        The last piece of a whole file is held back until the digest is proven, so nobody ever
        holds a complete file that is damaged.
        """
        if artifact.corrupt_reason:
            raise corrupt(artifact.sha256, artifact.corrupt_reason)
        span = parse_range(_header(context, "range"), artifact.size_bytes)
        if span is not None:
            await self._trust(artifact)
        await context.send_initial_metadata(_headers(artifact, span, name))
        pieces = self._whole(artifact) if span is None else self._part(artifact, span)
        async for piece in pieces:
            for part in _slices(piece):
                yield part

    async def _trust(self, artifact: Artifact) -> None:
        now = time.monotonic()
        if now - self._trusted.get(artifact.sha256, -_TRUST_S) < _TRUST_S:
            return
        await self.verify(artifact)
        if len(self._trusted) >= _MAX_TRUSTED:
            self._trusted.clear()
        self._trusted[artifact.sha256] = now

    async def _part(self, artifact: Artifact, span: Span) -> AsyncIterator[bytes]:
        since = await self._now()
        try:
            async for piece in self._store.read(artifact.sha256, span.start, span.end):
                yield piece
        except FileNotFoundError as error:
            raise await self._damaged(artifact, MISSING, since) from error

    async def _whole(self, artifact: Artifact) -> AsyncIterator[bytes]:
        since = await self._now()
        digest, held = hashlib.sha256(), b""
        try:
            async for piece in self._store.read(artifact.sha256, 0, artifact.size_bytes):
                await self._store.in_thread(digest.update, piece)
                if held:
                    yield held
                held = piece
        except FileNotFoundError as error:
            raise await self._damaged(artifact, MISSING, since) from error
        if digest.hexdigest() != artifact.sha256:
            raise await self._damaged(artifact, CHANGED, since)
        yield held

    async def _now(self) -> datetime:
        async with self._sessions() as session:
            return (await session.scalars(select(server_now()))).one()

    async def _damaged(self, artifact: Artifact, why: str, since: datetime) -> errors.RpcError:
        await self._disposal.mark_damaged(artifact.sha256, why, since=since)
        return corrupt(artifact.sha256, why)


def _header(context: grpc.aio.ServicerContext, name: str) -> str:
    metadata = dict(context.invocation_metadata() or ())
    value = metadata.get(name, "")
    return value if isinstance(value, str) else ""


def _headers(artifact: Artifact, span: Span | None, name: str) -> list[tuple[str, str]]:
    length = artifact.size_bytes if span is None else span.end - span.start
    headers = [
        ("http-content-length", str(length)),
        ("http-content-type", "application/octet-stream"),
        ("http-content-disposition", f'attachment; filename="{name}.safetensors"'),
        ("http-etag", f'"{artifact.sha256}"'),
        ("http-digest", f"sha-256={artifact.sha256}"),
        ("http-accept-ranges", "bytes"),
    ]
    if span is not None:
        last = span.end - 1
        headers.append(("http-status", "206"))
        headers.append(("http-content-range", f"bytes {span.start}-{last}/{artifact.size_bytes}"))
    return headers


def _slices(piece: bytes) -> Iterator[bytes]:
    view = memoryview(piece)
    for start in range(0, len(piece), PIECE_BYTES):
        yield bytes(view[start : start + PIECE_BYTES])
