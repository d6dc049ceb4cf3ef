"""What the executor can be told from outside."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from kit.settings import ServiceSettings, TlsDirectory

_DNS_LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_UUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_OwnerId = Annotated[str, StringConstraints(pattern=_UUID)]
_OPTIONAL_NAMES = (
    "kube_runtime_class",
    "kube_match_runtime_class",
    "kube_queue",
    "kube_tls_secret",
)
_IMAGE = re.compile(r"[^\s@]+(:(?!latest$)[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})")


class ExecutorSettings(ServiceSettings):
    """The settings of the executor."""

    service: ClassVar[str] = "executor"

    database_pool_size: int = Field(default=16, ge=2, le=50)
    """Most connections open at once; those not in use are closed by the server after a while."""
    max_jobs: int = Field(default=2, ge=1, le=10_000)
    """Jobs that may be at work at once; the others queue."""
    heartbeat_s: float = Field(default=10, gt=0, le=600)
    """Seconds between two heartbeats of a worker."""
    lease_expiry_s: float = Field(default=60, gt=0, le=3600)
    """Seconds without a heartbeat after which a worker counts as lost."""
    start_timeout_s: float = Field(default=60, gt=0, le=3600)
    """Seconds a new worker has to acquire its lease."""
    stop_grace_s: float = Field(default=30, ge=0, le=3600)
    """Seconds between SIGTERM and SIGKILL when a run is stopped or paused."""
    cancel_grace_s: float = Field(default=3, ge=0, le=3600)
    """Seconds between SIGTERM and SIGKILL when a run is cancelled."""
    external_expiry_s: float = Field(default=300, gt=0, le=86400)
    """Seconds of silence after which an EXTERNAL run counts as interrupted."""
    run_time_limit_s: int = Field(default=1500, ge=0, le=2_592_000)
    """Seconds of work a run may take when its creator names no limit; 0 is without limit."""
    run_retry_backoff_s: float = Field(default=60, ge=0, le=3600)
    """Seconds before the second attempt after a crash when the creator names none."""
    worker_memory_bytes: int = Field(default=8 << 30, ge=0)
    """Resident bytes that all processes of a worker may use together where its run asks for no
    others; 0 is without limit."""
    worker_environment: dict[str, str] = Field(default_factory=dict)
    """Variables given to every worker beyond the few it needs, as a JSON object."""
    trainer_command: list[str] = Field(default=[sys.executable, "-m", "trainer"])
    """Command that executes TRAINING runs, as a JSON list."""
    referee_command: list[str] = Field(default=[sys.executable, "-m", "referee"])
    """Command that executes EVALUATION and TESTING runs, as a JSON list."""
    log_max_bytes: int = Field(default=16 << 20, ge=1024)
    """Bytes of printed text stored per job; what comes after is counted and left out."""
    log_lines_per_s: int = Field(default=1000, ge=1)
    """Lines stored per second and job, with bursts of five times as many."""
    driver: Literal["process", "kubernetes"] = "process"
    """Where workers run: as processes of this machine, or as Jobs of a cluster."""
    worker_tls_dir: TlsDirectory | None = None
    """Directory with tls.crt, tls.key and ca.crt of the workers that are processes; needed with
    tls_dir."""
    worker_image: str = ""
    """Image of the workers on a cluster, with a tag other than `latest` or a digest."""
    worker_cpus: float = Field(default=1, gt=0, le=1024)
    """CPUs that a worker on a cluster is given where its run asks for no others."""
    worker_gpus: int = Field(default=0, ge=0, le=64)
    """GPUs that a trainer on a cluster is given where its run asks for no others."""
    owner_cpus: float = Field(default=0, ge=0)
    """CPUs that the workers of one owner may hold at once; 0 is without limit."""
    owner_memory_bytes: int = Field(default=0, ge=0)
    """Bytes of memory that the workers of one owner may hold at once; 0 is without limit."""
    owner_gpus: int = Field(default=0, ge=0)
    """GPUs that the workers of one owner may hold at once; 0 is without limit."""
    owner_weights: dict[_OwnerId, Annotated[float, Field(ge=0.01, le=100)]] = Field(
        default_factory=dict
    )
    """How much of the slots that several owners wait for goes to each, by the owner's id, as a JSON
    object; 1 for those it leaves out."""
    worker_gpu_products: list[str] = Field(default_factory=list)
    """Values of nvidia.com/gpu.product of the nodes trainers may run on; empty for all."""
    kube_namespace: str = Field(default="elodrome-workloads", pattern=_DNS_LABEL)
    """Namespace of the workers."""
    kube_config: Path | None = None
    """Kubeconfig that leads to the cluster; without one it is the pod's own service account."""
    kube_queries_per_s: float = Field(default=20, gt=0, le=10_000)
    """Calls to the API server a second; a second's worth of them may come at once."""
    kube_priority_classes: dict[Literal["trainer", "referee", "match", "build"], str] = Field(
        default_factory=dict
    )
    """PriorityClass of trainers, of referees of our own agents, and of matches and builds of the
    agents of others with all their pods, as a JSON object."""
    kube_runtime_class: str = ""
    """RuntimeClass of the workers; empty for the cluster's default."""
    kube_match_runtime_class: str = ""
    """RuntimeClass of the pods that run agents of others; empty for the cluster's default, which
    keeps them apart no better than any other pod."""
    kube_queue: str = ""
    """LocalQueue of Kueue that the Jobs wait in; empty leaves Kueue out."""
    kube_image_pull_secrets: list[str] = Field(default_factory=list)
    """Secrets with which the image is pulled, as a JSON list."""
    kube_tls_secret: str = ""
    """Secret with tls.crt, tls.key and ca.crt of the workers, in their namespace; needed with
    tls_dir."""

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        """Refuse workers that the services would refuse, and certificates that nobody looks at."""
        field = "worker_tls_dir" if self.driver == "process" else "kube_tls_secret"
        if self.tls_dir and not getattr(self, field):
            raise ValueError(f"{field}: workers need a certificate, as tls_dir is set")
        if getattr(self, field) and not self.tls_dir:
            raise ValueError(f"tls_dir: services need a certificate, as {field} is set")
        return self

    @model_validator(mode="after")
    def _check_cluster(self) -> Self:
        """Refuse before anything starts what the cluster would refuse for every worker."""
        if self.driver == "process":
            return self
        if not _IMAGE.fullmatch(self.worker_image):
            raise ValueError("worker_image: must name a tag other than `latest`, or a digest")
        names = {
            **{field: [name] for field in _OPTIONAL_NAMES if (name := getattr(self, field))},
            "kube_priority_classes": list(self.kube_priority_classes.values()),
            "kube_image_pull_secrets": self.kube_image_pull_secrets,
        }
        for field, values in names.items():
            for value in values:
                if not re.fullmatch(_DNS_LABEL, value):
                    raise ValueError(f"{field}: {value!r} must be a name of Kubernetes")
        return self
