"""A service with one RPC of every shape, whose behaviour a test chooses."""
# ruff: noqa: ARG002, N802 - RPC methods carry the names and arguments of the contract.

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from elodrome.accounts.v1 import edge_service_pb2, edge_service_pb2_grpc
from elodrome.executor.v1 import run_service_pb2, run_service_pb2_grpc
from elodrome.registry.v1 import checkpoint_pb2, checkpoint_service_pb2_grpc

from kit import errors, server
from kit.settings import ServiceSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


class EvaluatorProbe(ServiceSettings):
    """Settings of a probe that owns the evaluator's schema and events."""

    service = "evaluator"


class RegistryProbe(ServiceSettings):
    """Settings of a probe that owns the registry's schema and consumes the evaluator's events."""

    service = "registry"


class Edge(edge_service_pb2_grpc.EdgeServiceServicer):
    """`GetBuild` is open to all, `CreateStreamTicket` needs a role, `ListAuditEntries` an admin."""

    def __init__(self, behaviour: Callable[[], Awaitable[str]]) -> None:
        self._behaviour = behaviour

    async def GetBuild(self, request: Any, context: Any) -> Any:
        return edge_service_pb2.Build(version=await self._behaviour())

    async def CreateStreamTicket(self, request: Any, context: Any) -> Any:
        return edge_service_pb2.StreamTicket(ticket=await self._behaviour())

    async def ListAuditEntries(self, request: Any, context: Any) -> Any:
        return edge_service_pb2.ListAuditEntriesResponse(next_page_token=await self._behaviour())


class Runs(run_service_pb2_grpc.RunServiceServicer):
    """`WatchRun` sends what the test put in, and ends when the test says so."""

    def __init__(self) -> None:
        self.updates: asyncio.Queue[str | Exception] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def WatchRun(self, request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            while True:
                update = await self.updates.get()
                if isinstance(update, Exception):
                    raise update
                yield run_service_pb2.WatchRunResponse(cursor=update)
        finally:
            self.closed.set()


class Checkpoints(checkpoint_service_pb2_grpc.CheckpointServiceServicer):
    """`UploadCheckpoint` counts bytes and refuses more than a mebibyte."""

    async def UploadCheckpoint(self, request_iterator: Any, context: Any) -> Any:
        size = 0
        async for request in request_iterator:
            size += len(request.data)
            if size > 1 << 20:
                raise errors.too_large("a checkpoint has at most 1 MiB", size_bytes=size)
        return checkpoint_pb2.Checkpoint(iteration=size)


def probe(behaviour: Callable[[], Awaitable[str]], **parts: Any) -> server.Parts:
    """Return the parts of a service whose unary RPCs answer what `behaviour` returns."""
    return server.Parts([Edge(behaviour)], **parts)


async def refusal(call: Awaitable[Any]) -> errors.RpcError:
    """Await a call that must fail; return why it did."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return errors.from_call(error)
    raise AssertionError(f"the call answered {answer}")
