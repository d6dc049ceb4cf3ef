"""The checkpoints of a run, which the registry keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from elodrome.registry.v1 import checkpoint_service_pb2, checkpoint_service_pb2_grpc

from kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from elodrome.registry.v1.checkpoint_pb2 import Checkpoint

    from kit.server import Context

TIMEOUT_S = 5.0
_PAGE_SIZE = 200


async def checkpoints_of(context: Context, run_id: str) -> AsyncIterator[Checkpoint]:
    """Yield the committed checkpoints of a run by iteration, damaged ones too.

    Raises UNAVAILABLE while the registry cannot be asked.
    """
    stub = checkpoint_service_pb2_grpc.CheckpointServiceStub(context.channel("registry"))
    request = checkpoint_service_pb2.ListCheckpointsRequest(run_id=run_id, page_size=_PAGE_SIZE)
    while True:
        try:
            page = await stub.ListCheckpoints(
                request, metadata=context.call_metadata(), timeout=TIMEOUT_S
            )
        except grpc.aio.AioRpcError as error:
            raise errors.from_call(error) from error
        for checkpoint in page.items:
            yield checkpoint
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return
