"""The executor as a process: `python -m services.executor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit import server
from kit.server import Parts
from services.executor.drivers.process import ProcessDriver
from services.executor.log_tails import LogTails
from services.executor.reconciler import Reconciler
from services.executor.servicers.lease import LeaseServicer
from services.executor.servicers.log import LogServicer
from services.executor.servicers.metric import MetricServicer
from services.executor.servicers.run import RunServicer
from services.executor.servicers.training import TrainingServicer
from services.executor.settings import ExecutorSettings

if TYPE_CHECKING:
    from kit.server import Context


def build(context: Context) -> Parts:
    """Wire the executor."""
    settings: ExecutorSettings = context.settings
    driver = ProcessDriver(
        (settings.home / "jobs").resolve(), memory_bytes=settings.worker_memory_bytes
    )
    tails = LogTails(settings, context.sessions, driver)
    reconciler = Reconciler(
        settings=settings,
        sessions=context.sessions,
        signer=context.signer,
        driver=driver,
        tails=tails,
    )
    return Parts(
        servicers=[
            RunServicer(context, driver),
            TrainingServicer(context),
            LogServicer(context),
            LeaseServicer(context),
            MetricServicer(context),
        ],
        loops={"reconciler": reconciler.run, "logs": tails.run},
    )


if __name__ == "__main__":
    server.main(ExecutorSettings, build)
