"""What the executor can be told from outside."""

from __future__ import annotations

import sys
from typing import ClassVar

from pydantic import Field

from kit.settings import ServiceSettings


class ExecutorSettings(ServiceSettings):
    """The settings of the executor."""

    service: ClassVar[str] = "executor"

    database_pool_size: int = Field(default=16, ge=2, le=50)
    """Most connections open at once; those not in use are closed by the server after a while."""
    max_jobs: int = Field(default=2, ge=1, le=1000)
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
    """Resident bytes that all processes of one job may use together; 0 is without limit."""
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
