"""Checkpoints: claimed, uploaded and committed under a lease; listed, loaded, starred and sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elodrome.registry.v1 import checkpoint_pb2, checkpoint_service_pb2_grpc
from elodrome.registry.v1 import checkpoint_service_pb2 as pb
from sqlalchemy import or_, select

from kit import errors, failpoint, page, parse
from kit.auth import principal
from services.registry import access
from services.registry.disposal import Disposal, lock_digest, release
from services.registry.models.checkpoint import (
    COMMITTED,
    CORRUPT,
    PENDING,
    Artifact,
    Checkpoint,
    best_to_change,
    claim,
    fence,
)
from services.registry.models.model import Version
from services.registry.models.signature import check_fits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import grpc
    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.db import Sessions
    from services.registry.downloads import Downloads
    from services.registry.uploads import Uploads

_MAX_METRICS = 200
_MAX_METRIC_NAME = 128
_ORDERS = ("create_time", "iteration")
_IN_STATE: dict[int, ColumnElement[bool]] = {
    0: or_(Checkpoint.commit_time.is_not(None), Artifact.corrupt_reason != ""),
    PENDING: Checkpoint.commit_time.is_(None) & (Artifact.corrupt_reason == ""),
    COMMITTED: Checkpoint.commit_time.is_not(None) & (Artifact.corrupt_reason == ""),
    CORRUPT: Artifact.corrupt_reason != "",
}


class CheckpointServicer(checkpoint_service_pb2_grpc.CheckpointServiceServicer):
    """Answers about checkpoints."""

    def __init__(
        self, sessions: Sessions, uploads: Uploads, downloads: Downloads, disposal: Disposal
    ) -> None:
        self._sessions = sessions
        self._uploads = uploads
        self._downloads = downloads
        self._disposal = disposal

    async def ClaimRun(
        self, request: pb.ClaimRunRequest, _context: grpc.aio.ServicerContext
    ) -> pb.ClaimRunResponse:
        caller = principal()
        if parse.uuid(request.run_id, "run_id") != caller.run_id:
            raise errors.permission_denied("the lease is for another run", reason="NOT_YOUR_RUN")
        async with self._sessions.begin() as session:
            await fence(session, caller)
        while newest := await self._newest(caller.run_id):
            # A damaged file is marked by the attempt to verify it, and the next one is tried.
            if not await self._disposal.verify(newest.sha256, newest.artifact.size_bytes):
                return pb.ClaimRunResponse(checkpoint=newest.to_proto(), epoch=caller.epoch)
        return pb.ClaimRunResponse(epoch=caller.epoch)

    async def _newest(self, run_id: str) -> Checkpoint | None:
        async with self._sessions() as session:
            return await session.scalar(
                select(Checkpoint)
                .join(Checkpoint.artifact)
                .where(Checkpoint.run_id == run_id, _IN_STATE[COMMITTED])
                .order_by(Checkpoint.iteration.desc(), Checkpoint.create_time.desc())
                .limit(1)
            )

    async def UploadCheckpoint(
        self,
        request_iterator: AsyncIterator[pb.UploadCheckpointRequest],
        _context: grpc.aio.ServicerContext,
    ) -> checkpoint_pb2.Checkpoint:
        return await self._uploads.receive(request_iterator)

    async def CommitCheckpoint(
        self, request: pb.CommitCheckpointRequest, _context: grpc.aio.ServicerContext
    ) -> checkpoint_pb2.Checkpoint:
        metrics = _metrics(request.metrics)
        if request.best_metric and request.best_metric not in metrics:
            raise errors.invalid_argument("best_metric", "must be one of the metrics")
        caller = principal()
        async with self._sessions.begin() as session:
            checkpoint = await access.own_checkpoint(session, request.id)
            await claim(session, caller, checkpoint.run_id, checkpoint.owner_id)
            checkpoint = await access.locked_checkpoint(session, checkpoint)
            if request.iteration != checkpoint.iteration:
                raise errors.invalid_argument(
                    "iteration", f"must be {checkpoint.iteration}, as the file's manifest says"
                )
            is_new = checkpoint.commit_time is None
            await checkpoint.commit(session, metrics)
            if is_new:
                await _move_star(session, checkpoint, request)
                checkpoint.announce(session)
            await session.flush()
            failpoint.hit("checkpoint.before_commit")
        failpoint.hit("checkpoint.committed")
        return checkpoint.to_proto()

    async def GetCheckpoint(
        self, request: pb.GetCheckpointRequest, _context: grpc.aio.ServicerContext
    ) -> checkpoint_pb2.Checkpoint:
        async with self._sessions() as session:
            return (await access.checkpoint_to_read(session, request.id)).to_proto()

    async def ListCheckpoints(
        self, request: pb.ListCheckpointsRequest, _context: grpc.aio.ServicerContext
    ) -> pb.ListCheckpointsResponse:
        default = "iteration" if request.run_id else "create_time desc"
        column, descending = page.order(request.order_by, _ORDERS, default=default)
        if request.state not in _IN_STATE:
            raise errors.invalid_argument("state", "must be one of PENDING, COMMITTED, CORRUPT")
        query = (
            select(Checkpoint)
            .join(Checkpoint.artifact)
            .where(access.own_checkpoints(), _IN_STATE[request.state])
        )
        if request.run_id:
            query = query.where(Checkpoint.run_id == parse.uuid(request.run_id, "run_id"))
        if request.best_only:
            query = query.where(Checkpoint.is_best)
        async with self._sessions() as session:
            items, token, total = await page.list_page(
                session,
                query,
                Checkpoint,
                request,
                convert=Checkpoint.to_proto,
                by=getattr(Checkpoint, column),
                descending=descending,
            )
        return pb.ListCheckpointsResponse(items=items, next_page_token=token, total=total)

    async def DeleteCheckpoint(
        self, request: pb.DeleteCheckpointRequest, _context: grpc.aio.ServicerContext
    ) -> pb.DeleteCheckpointResponse:
        async with self._sessions.begin() as session:
            checkpoint = await access.own_checkpoint(session, request.id)
            await lock_digest(session, checkpoint.sha256)
            checkpoint = await access.locked_checkpoint(session, checkpoint)
            await _check_unpublished(session, checkpoint)
            await session.delete(checkpoint)
            await session.flush()
            freed = await release(session, [checkpoint.sha256])
        await self._disposal.remove_files(freed)
        return pb.DeleteCheckpointResponse()

    async def LoadCheckpoint(
        self, request: pb.LoadCheckpointRequest, _context: grpc.aio.ServicerContext
    ) -> pb.LoadCheckpointResponse:
        async with self._sessions() as session:
            checkpoint = await access.checkpoint_to_read(session, request.id)
        checkpoint.check_usable()
        if request.HasField("expected"):
            check_fits(checkpoint.signature, request.expected)
        await self._downloads.verify(checkpoint.artifact)
        async with self._sessions.begin() as session:
            count = await checkpoint.record_load(session, principal())
        return pb.LoadCheckpointResponse(
            checkpoint=checkpoint.to_proto(),
            download_path=f"/api/v1/checkpoints/{checkpoint.id}/download",
            load_count=count,
        )

    async def MarkBestCheckpoint(
        self, request: pb.MarkBestCheckpointRequest, _context: grpc.aio.ServicerContext
    ) -> checkpoint_pb2.Checkpoint:
        caller = principal()
        async with self._sessions.begin() as session:
            if caller.kind == "worker":
                await fence(session, caller)
            checkpoint = await access.own_checkpoint(session, request.id)
            checkpoint = await access.locked_checkpoint(session, checkpoint)
            checkpoint.check_usable()
            await checkpoint.star(session)
            await session.flush()
            return checkpoint.to_proto()

    async def DownloadCheckpoint(
        self, request: pb.DownloadCheckpointRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.DownloadCheckpointResponse]:
        async with self._sessions() as session:
            checkpoint = await access.checkpoint_to_read(session, request.id)
        name = f"{checkpoint.run_id}-{checkpoint.iteration}"
        async for data in self._downloads.stream(checkpoint.artifact, context, name=name):
            yield pb.DownloadCheckpointResponse(data=data)

    async def ScrubArtifacts(
        self, _request: pb.ScrubArtifactsRequest, _context: grpc.aio.ServicerContext
    ) -> pb.ScrubArtifactsResponse:
        count, read_bytes, damaged = await self._disposal.scrub(age_s=0)
        return pb.ScrubArtifactsResponse(
            read_count=count, read_bytes=read_bytes, corrupt_sha256s=damaged
        )


def _metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    if len(metrics) > _MAX_METRICS:
        raise errors.invalid_argument("metrics", f"must be at most {_MAX_METRICS}")
    return {
        parse.text(name, "metrics", max_length=_MAX_METRIC_NAME): value
        for name, value in metrics.items()
    }


async def _move_star(
    session: AsyncSession, checkpoint: Checkpoint, request: pb.CommitCheckpointRequest
) -> None:
    """Give the run's star to the checkpoint if it is the best by the metric that was named."""
    if not request.best_metric:
        return
    best = await best_to_change(session, checkpoint.run_id)
    metric, lower_is_better = request.best_metric, request.lower_is_better
    if checkpoint.beats(best, metric, lower_is_better=lower_is_better):
        await checkpoint.star(session)


async def _check_unpublished(session: AsyncSession, checkpoint: Checkpoint) -> None:
    users = await session.scalars(
        select(Version).where(Version.checkpoint_id == checkpoint.id).order_by(Version.number)
    )
    names = [f"{version.model.name}@{version.number}" for version in users]
    if names:
        raise errors.failed_precondition(
            f"checkpoint {checkpoint.id} is published as {', '.join(names)}",
            reason="CHECKPOINT_IN_USE",
            references=", ".join(names),
        )
