"""The executor as a process: `python -m services.executor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit import server
from kit.server import Parts
from services.executor import gauges
from services.executor.drivers.kube_job import Placement
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
    from kit.server import Context, Loop
    from services.executor.drivers.driver import Driver

_CONNECTIONS = 16


def build(context: Context) -> Parts:
    """Wire the executor."""
    settings: ExecutorSettings = context.settings
    driver, following = _driver(settings)
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
            LeaseServicer(context, driver),
            MetricServicer(context),
        ],
        loops={gauges.RECONCILER: reconciler.run, "logs": tails.run, **following},
        measures=[gauges.measure(settings.max_jobs)],
        checks={"workers": driver.check},
    )


def _driver(settings: ExecutorSettings) -> tuple[Driver, dict[str, Loop]]:
    """Return the place where workers run, and what has to run for it."""
    directory = (settings.home / "jobs").resolve()
    if settings.driver == "process":
        return ProcessDriver(directory, settings.worker_tls_dir), {}
    # An install without a cluster does without the client of one.
    from services.executor.drivers.kube_api import KubeApi  # noqa: PLC0415
    from services.executor.drivers.kubernetes import KubernetesDriver  # noqa: PLC0415

    api = KubeApi(
        kubeconfig=settings.kube_config,
        queries_per_s=settings.kube_queries_per_s,
        # A log is followed on a connection of its own.
        connections=settings.max_jobs + _CONNECTIONS,
    )
    placement = Placement(
        namespace=settings.kube_namespace,
        image=settings.worker_image,
        gpu_products=settings.worker_gpu_products,
        priority_classes={str(role): name for role, name in settings.kube_priority_classes.items()},
        runtime_class=settings.kube_runtime_class,
        queue=settings.kube_queue,
        image_pull_secrets=settings.kube_image_pull_secrets,
        tls_secret=settings.kube_tls_secret,
        match_runtime_class=settings.kube_match_runtime_class,
    )
    driver = KubernetesDriver(api, placement, directory)
    return driver, {"cluster": driver.run}


if __name__ == "__main__":
    server.main(ExecutorSettings, build)
