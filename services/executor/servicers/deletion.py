"""When a run may be deleted: nothing of it is at work, and no model version came from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from elodrome.registry.v1 import version_service_pb2, version_service_pb2_grpc

from kit import errors
from services.executor.checkpoints import TIMEOUT_S, checkpoints_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kit.server import Context
    from services.executor.models.job import Job
    from services.executor.models.run import Run


def check_settled(run: Run, jobs: Iterable[Job]) -> None:
    """Raise FAILED_PRECONDITION while a run, or what is left of its workers, is alive."""
    is_left = any(not job.is_reaped for job in jobs)
    if run.is_settled and not is_left:
        return
    state = f"{run.state}, and its worker is still ending" if run.is_settled else str(run.state)
    raise errors.failed_precondition(
        f"a run that is {state} cannot be deleted", reason="RUN_ACTIVE", current=run.state
    )


async def check_unreferenced(context: Context, run_id: str) -> None:
    """Raise FAILED_PRECONDITION when a model version points at a checkpoint of the run."""
    versions = version_service_pb2_grpc.VersionServiceStub(context.channel("registry"))
    try:
        async for checkpoint in checkpoints_of(context, run_id):
            found = await versions.ListVersions(
                version_service_pb2.ListVersionsRequest(checkpoint_id=checkpoint.id, page_size=1),
                metadata=context.call_metadata(),
                timeout=TIMEOUT_S,
            )
            if found.items:
                version = found.items[0]
                raise errors.failed_precondition(
                    f"version {version.id} of a model came from this run",
                    reason="RUN_REFERENCED",
                    version_id=version.id,
                )
    except grpc.aio.AioRpcError as error:
        raise errors.from_call(error) from error
