"""What the evaluator asks the registry, always with the rights of the caller it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from elodrome.registry.v1 import (
    checkpoint_pb2,
    checkpoint_service_pb2,
    checkpoint_service_pb2_grpc,
    model_pb2,
    version_service_pb2,
    version_service_pb2_grpc,
)

from kit import errors
from kit.auth import principal

if TYPE_CHECKING:
    from kit.server import Context


class Registry:
    """The registry as the current caller sees it."""

    def __init__(self, context: Context) -> None:
        channel = context.channel("registry")
        self._metadata = context.call_metadata
        self._checkpoints = checkpoint_service_pb2_grpc.CheckpointServiceStub(channel)
        self._versions = version_service_pb2_grpc.VersionServiceStub(channel)

    async def committed_checkpoint(self, checkpoint_id: str) -> checkpoint_pb2.Checkpoint:
        """Read a checkpoint that can be played; NOT_FOUND and the like pass through."""
        request = checkpoint_service_pb2.GetCheckpointRequest(id=checkpoint_id)
        checkpoint = await self._checkpoints.GetCheckpoint(request, metadata=self._credentials())
        if checkpoint.state != checkpoint_pb2.CHECKPOINT_STATE_COMMITTED:
            state = checkpoint_pb2.CheckpointState.Name(checkpoint.state)
            raise errors.failed_precondition(
                "the checkpoint was never committed or is corrupt",
                reason="CHECKPOINT_NOT_COMMITTED",
                state=state.removeprefix("CHECKPOINT_STATE_"),
            )
        return checkpoint

    async def version(self, version_id: str) -> model_pb2.Version:
        """Read a version; NOT_FOUND passes through."""
        request = version_service_pb2.GetVersionRequest(id=version_id)
        return await self._versions.GetVersion(request, metadata=self._credentials())

    async def stable_version(self, model_id: str) -> model_pb2.Version | None:
        """Read a model's stable version, or None where it has none."""
        request = version_service_pb2.GetStableVersionRequest(model_id=model_id)
        try:
            return await self._versions.GetStableVersion(request, metadata=self._credentials())
        except grpc.aio.AioRpcError as error:
            if errors.from_call(error).reason == "NO_STABLE_VERSION":
                return None
            raise

    def _credentials(self) -> list[tuple[str, str]]:
        """Act for the user; administrators and operators see what the platform sees."""
        caller = principal()
        everything = bool(caller.roles & {"ADMIN", "OPERATOR"})
        return self._metadata("" if everything else caller.user_id)
