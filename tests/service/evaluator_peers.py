"""The registry and the executor as far as the evaluator calls them, from memory, on loopback."""

# ruff: noqa: N802 - RPC methods carry the names of the contract.

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from elodrome.executor.v1 import run_pb2, run_service_pb2_grpc
from elodrome.registry.v1 import (
    checkpoint_pb2,
    checkpoint_service_pb2,
    checkpoint_service_pb2_grpc,
    events_pb2,
    model_pb2,
    version_service_pb2_grpc,
)

from kit import errors
from kit.auth import Verifier, principal
from kit.rpc import Gate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@dataclass
class Registry(
    checkpoint_service_pb2_grpc.CheckpointServiceServicer,
    version_service_pb2_grpc.VersionServiceServicer,
):
    """Checkpoints and versions a test puts into it."""

    checkpoints: dict[str, checkpoint_pb2.Checkpoint] = field(default_factory=dict)
    versions: dict[str, model_pb2.Version] = field(default_factory=dict)
    stable: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def add_checkpoint(
        self, owner_id: str, *, committed: bool = True, sha256: str = ""
    ) -> checkpoint_pb2.Checkpoint:
        state = (
            checkpoint_pb2.CHECKPOINT_STATE_COMMITTED
            if committed
            else checkpoint_pb2.CHECKPOINT_STATE_PENDING
        )
        checkpoint = checkpoint_pb2.Checkpoint(
            id=str(uuid.uuid4()),
            run_id=str(uuid.uuid4()),
            owner_id=owner_id,
            state=state,
            artifact=checkpoint_pb2.Artifact(
                sha256=sha256 or uuid.uuid4().hex + uuid.uuid4().hex, size_bytes=1
            ),
            signature=checkpoint_pb2.Signature(game="doom", scenario="basic"),
        )
        self.checkpoints[checkpoint.id] = checkpoint
        return checkpoint

    def add_version(
        self, checkpoint: checkpoint_pb2.Checkpoint, model_id: str = "", *, stable: bool = False
    ) -> model_pb2.Version:
        version = model_pb2.Version(
            id=str(uuid.uuid4()),
            model_id=model_id or str(uuid.uuid4()),
            number=len(self.versions) + 1,
            checkpoint_id=checkpoint.id,
            artifact=checkpoint.artifact,
        )
        self.versions[version.id] = version
        if stable:
            self.stable[version.model_id] = version.id
        return version

    async def GetCheckpoint(self, request: Any, _context: Any) -> checkpoint_pb2.Checkpoint:
        checkpoint = self.checkpoints.get(request.id)
        if checkpoint is None or not principal().owns(checkpoint.owner_id):
            raise errors.not_found("checkpoint", request.id)
        return checkpoint

    async def DownloadCheckpoint(self, request: Any, context: Any) -> AsyncIterator[Any]:
        checkpoint = await self.GetCheckpoint(request, context)
        content = self.files[checkpoint.artifact.sha256]
        for start in range(0, len(content), 65536):
            yield checkpoint_service_pb2.DownloadCheckpointResponse(
                data=content[start : start + 65536]
            )

    async def GetVersion(self, request: Any, _context: Any) -> model_pb2.Version:
        if request.id not in self.versions:
            raise errors.not_found("version", request.id)
        return self.versions[request.id]

    async def GetStableVersion(self, request: Any, _context: Any) -> model_pb2.Version:
        if request.model_id not in self.stable:
            raise errors.not_found("stable version", request.model_id, reason="NO_STABLE_VERSION")
        return self.versions[self.stable[request.model_id]]


def saved(checkpoint: checkpoint_pb2.Checkpoint, *, is_best: bool = False) -> Any:
    """The event that tells of a committed checkpoint."""
    return events_pb2.CheckpointSaved(
        checkpoint_id=checkpoint.id,
        run_id=checkpoint.run_id,
        owner_id=checkpoint.owner_id,
        sha256=checkpoint.artifact.sha256,
        signature=checkpoint.signature,
        is_best=is_best,
    )


@dataclass
class Executor(run_service_pb2_grpc.RunServiceServicer):
    """Runs that never start by themselves; a request id always names the same run."""

    runs: dict[str, run_pb2.Run] = field(default_factory=dict)
    refusal: errors.RpcError | None = None
    lose_answers: int = 0
    traces: list[str] = field(default_factory=list)

    def run_of(self, request_id: str) -> run_pb2.Run:
        return next(run for run in self.runs.values() if run.request_id == request_id)

    async def CreateRun(self, request: Any, context: Any) -> run_pb2.Run:
        self.traces.append(dict(context.invocation_metadata()).get("traceparent", ""))
        if self.refusal is not None:
            raise self.refusal
        run = next(
            (run for run in self.runs.values() if run.request_id == request.request_id), None
        )
        if run is None:
            run = run_pb2.Run(
                id=str(uuid.uuid4()),
                type=request.type,
                state=run_pb2.RUN_STATE_PENDING,
                owner_id=principal().user_id,
                config=request.config,
                request_id=request.request_id,
                time_limit_s=request.time_limit_s,
            )
            self.runs[run.id] = run
        if self.lose_answers > 0:
            self.lose_answers -= 1
            raise errors.unavailable("the answer is lost")
        return run

    async def CancelRun(self, request: Any, _context: Any) -> run_pb2.Run:
        run = self.runs[request.id]
        run.state = run_pb2.RUN_STATE_CANCELLED
        return run

    async def GetRun(self, request: Any, _context: Any) -> run_pb2.Run:
        if request.id not in self.runs:
            raise errors.not_found("run", request.id)
        return self.runs[request.id]


@dataclass(frozen=True)
class Peers:
    """Both, and where they listen."""

    registry: Registry
    executor: Executor
    address: str


@asynccontextmanager
async def running_peers(keys_dir: Path) -> AsyncIterator[Peers]:
    """Serve both on one port, behind the gate every service has."""
    registry, executor = Registry(), Executor()
    server = grpc.aio.server(interceptors=[Gate(Verifier.load(keys_dir))])
    checkpoint_service_pb2_grpc.add_CheckpointServiceServicer_to_server(registry, server)
    version_service_pb2_grpc.add_VersionServiceServicer_to_server(registry, server)
    run_service_pb2_grpc.add_RunServiceServicer_to_server(executor, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield Peers(registry, executor, f"127.0.0.1:{port}")
    await server.stop(None)
