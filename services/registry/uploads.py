"""Take a checkpoint in: staged, hashed, judged, stored, and only then known by a row."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elodrome.executor.v1 import run_service_pb2, run_service_pb2_grpc
from sqlalchemy.dialects.postgresql import insert

from kit import errors, failpoint, parse
from kit.auth import principal
from kit.db import new_id, server_now
from services.registry import weights_file
from services.registry.disposal import lock_digest
from services.registry.models.checkpoint import Artifact, Checkpoint, claim

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from elodrome.registry.v1 import checkpoint_pb2
    from elodrome.registry.v1 import checkpoint_service_pb2 as pb
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.server import Context
    from services.registry.artifacts import ArtifactStore, Staged
    from services.registry.settings import RegistrySettings

# So much is received before a thread writes and hashes it; twice that is held for each upload.
_WRITE_BYTES = 1 << 20
_MAX_PIECE_BYTES = 1 << 20
_MAX_PUTS = 3
_RETRY_AFTER_S = 2


@dataclass(frozen=True)
class _Header:
    run_id: str
    sha256: str
    size_bytes: int
    owner_id: str


class Uploads:
    """Receives checkpoints, so many at a time."""

    def __init__(self, context: Context, settings: RegistrySettings, store: ArtifactStore) -> None:
        self._context = context
        self._sessions = context.sessions
        self._settings = settings
        self._store = store
        self._running = 0

    async def receive(
        self, requests: AsyncIterator[pb.UploadCheckpointRequest]
    ) -> checkpoint_pb2.Checkpoint:
        """Carry out `UploadCheckpoint`."""
        with self._place():
            messages = aiter(requests)
            first = await self._next(messages)
            if first is None:
                raise errors.invalid_argument("run_id", "must be in the first message")
            header = await self._admit(first)
            async with self._store.staged(header.size_bytes) as staged:
                await self._write_all(first, messages, staged)
                digest = await self._store.finish(staged)
                failpoint.hit("checkpoint.staged")
                _check_digest(header, digest, staged.size_bytes)
                contents = await self._store.in_thread(_judge, staged)
                return await self._keep(header, staged, contents)

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._running >= self._settings.max_uploads:
            raise errors.resource_exhausted(
                f"{self._running} uploads are under way",
                reason="TOO_MANY_UPLOADS",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def _next(
        self, messages: AsyncIterator[pb.UploadCheckpointRequest]
    ) -> pb.UploadCheckpointRequest | None:
        """Return the next message, or None after the last; raises UPLOAD_STALLED."""
        try:
            async with asyncio.timeout(self._settings.upload_idle_s):
                return await anext(messages, None)
        except TimeoutError as error:
            raise errors.deadline_exceeded(
                f"nothing came for {self._settings.upload_idle_s:g} s", reason="UPLOAD_STALLED"
            ) from error

    async def _admit(self, first: pb.UploadCheckpointRequest) -> _Header:
        run_id = parse.uuid(first.run_id, "run_id")
        sha256 = parse.sha256(first.sha256, "sha256")
        self._check_size(first.size_bytes)
        caller = principal()
        owner_id = caller.user_id
        if caller.kind == "worker":
            if run_id != caller.run_id:
                raise errors.permission_denied(
                    "the lease is for another run", reason="NOT_YOUR_RUN"
                )
        else:
            owner_id = await self._owner_of(run_id)
        header = _Header(run_id, sha256, first.size_bytes, owner_id)
        async with self._sessions.begin() as session:
            await claim(session, caller, run_id, owner_id)
        return header

    async def _owner_of(self, run_id: str) -> str:
        """Ask whose run it is; raises RUN_NOT_FOUND for somebody else's."""
        stub = run_service_pb2_grpc.RunServiceStub(self._context.channel("executor"))
        run = await stub.GetRun(
            run_service_pb2.GetRunRequest(id=run_id), metadata=self._context.call_metadata()
        )
        if not principal().owns(run.owner_id):
            raise errors.not_found("run", run_id)
        return run.owner_id

    def _check_size(self, size_bytes: int) -> None:
        limit = self._settings.max_checkpoint_bytes
        if size_bytes > limit:
            raise errors.too_large(
                f"a checkpoint may have at most {limit} bytes", limit_bytes=limit
            )
        if size_bytes < 0:
            raise errors.invalid_argument("size_bytes", "must not be negative")

    async def _write_all(
        self,
        first: pb.UploadCheckpointRequest,
        messages: AsyncIterator[pb.UploadCheckpointRequest],
        staged: Staged,
    ) -> None:
        batch, batch_bytes, total_bytes = [first.data], len(first.data), len(first.data)
        while (message := await self._next(messages)) is not None:
            if len(message.data) > _MAX_PIECE_BYTES:
                raise errors.invalid_argument("data", f"must have at most {_MAX_PIECE_BYTES} bytes")
            batch.append(message.data)
            batch_bytes += len(message.data)
            total_bytes += len(message.data)
            self._check_size(total_bytes)
            if batch_bytes >= _WRITE_BYTES:
                await self._store.append(staged, batch)
                failpoint.hit("checkpoint.receiving")
                batch, batch_bytes = [], 0
        await self._store.append(staged, batch)

    async def _keep(
        self, header: _Header, staged: Staged, contents: weights_file.Contents
    ) -> checkpoint_pb2.Checkpoint:
        """Store the file and write its rows; again when a removal took the file in between."""
        for _ in range(_MAX_PUTS):
            await self._store.put(staged, header.sha256)
            async with self._sessions.begin() as session:
                await claim(session, principal(), header.run_id, header.owner_id)
                await lock_digest(session, header.sha256)
                if await self._store.size(header.sha256) == staged.size_bytes:
                    return await _record(session, header, staged.size_bytes, contents)
        raise errors.aborted("the file was removed while it was stored", reason="UPLOAD_RACED")


def _check_digest(header: _Header, digest: str, size_bytes: int) -> None:
    if header.size_bytes and header.size_bytes != size_bytes:
        raise errors.invalid_argument(
            "size_bytes",
            f"{header.size_bytes} bytes were announced and {size_bytes} came",
            reason="SIZE_MISMATCH",
            http_status=409,
        )
    if digest != header.sha256:
        raise errors.invalid_argument(
            "sha256",
            f"the bytes have the digest {digest}",
            reason="DIGEST_MISMATCH",
            http_status=409,
            actual=digest,
        )


def _judge(staged: Staged) -> weights_file.Contents:
    with staged.path.open("rb") as file:
        try:
            return weights_file.read(file, staged.size_bytes)
        except weights_file.InvalidFileError as error:
            raise errors.invalid_argument(
                "data", f"is not a checkpoint: {error}", reason="INVALID_CHECKPOINT"
            ) from error


async def _record(
    session: AsyncSession, header: _Header, size_bytes: int, contents: weights_file.Contents
) -> checkpoint_pb2.Checkpoint:
    """Write the rows of a stored file; what is there already stays, and counts as whole again."""
    stored = insert(Artifact).values(sha256=header.sha256, size_bytes=size_bytes)
    await session.execute(
        stored.on_conflict_do_update(
            index_elements=["sha256"],
            set_={"verify_time": server_now(), "corrupt_reason": ""},
        )
    )
    caller = principal()
    steps = contents.manifest.get("steps", 0)
    row = {
        "id": new_id(),
        "run_id": header.run_id,
        "owner_id": header.owner_id,
        "job_id": caller.job_id,
        "epoch": caller.epoch,
        "iteration": contents.manifest["iteration"],
        "steps": steps,
        "sha256": header.sha256,
        "manifest": contents.manifest,
        "tensor_groups": list(contents.tensor_groups),
    }
    # A repeat counts as new to the removal of what nobody commits.
    checkpoint_id = await session.scalar(
        insert(Checkpoint)
        .values(row)
        .on_conflict_do_update(
            index_elements=["run_id", "sha256"], set_={"update_time": server_now()}
        )
        .returning(Checkpoint.id)
    )
    return (await session.get_one(Checkpoint, checkpoint_id)).to_proto()
