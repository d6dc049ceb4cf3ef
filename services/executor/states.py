"""The state machines of runs and jobs: the only place that says which moves exist."""

from __future__ import annotations

from enum import StrEnum

from elodrome.executor.v1 import run_pb2

from kit.states import Machine


class RunType(StrEnum):
    """What a run executes."""

    TRAINING = "TRAINING"
    EVALUATION = "EVALUATION"
    TESTING = "TESTING"
    EXTERNAL = "EXTERNAL"
    CERTIFICATION = "CERTIFICATION"
    MATCH = "MATCH"
    BUILD = "BUILD"

    def to_proto(self) -> run_pb2.RunType:
        """Return the value on the wire."""
        return getattr(run_pb2, f"RUN_TYPE_{self}")


class RunState(StrEnum):
    """Where a run stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    INTERRUPTED = "INTERRUPTED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    STOPPED = "STOPPED"

    def to_proto(self) -> run_pb2.RunState:
        """Return the value on the wire."""
        return getattr(run_pb2, f"RUN_STATE_{self}")


class JobState(StrEnum):
    """Where one attempt stands."""

    PENDING = "PENDING"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    LOST = "LOST"
    STOPPED = "STOPPED"

    def to_proto(self) -> run_pb2.JobState:
        """Return the value on the wire."""
        return getattr(run_pb2, f"JOB_STATE_{self}")


class JobOutcome(StrEnum):
    """Why an attempt ended."""

    COMPLETED = "COMPLETED"
    USER_ERROR = "USER_ERROR"
    CRASH = "CRASH"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    TIME_LIMIT = "TIME_LIMIT"
    LEASE_EXPIRED = "LEASE_EXPIRED"
    VANISHED = "VANISHED"
    FENCED = "FENCED"
    REQUESTED = "REQUESTED"
    PLATFORM = "PLATFORM"
    BUDGET = "BUDGET"
    DIVERGED = "DIVERGED"
    TARGET_REACHED = "TARGET_REACHED"
    PLATEAU = "PLATEAU"
    EVICTED = "EVICTED"
    IMAGE_PULL = "IMAGE_PULL"

    def to_proto(self) -> run_pb2.JobOutcome:
        """Return the value on the wire."""
        return getattr(run_pb2, f"JOB_OUTCOME_{self}")

    @property
    def job_state(self) -> JobState:
        """The state in which a job with this outcome ends."""
        return _JOB_STATES[self]


class CertificateState(StrEnum):
    """Whether a TRAINING run is known to repeat itself."""

    NONE = "NONE"
    PENDING = "PENDING"
    CERTIFIED = "CERTIFIED"
    REFUTED = "REFUTED"
    FAILED = "FAILED"

    def to_proto(self) -> run_pb2.CertificateState:
        """Return the value on the wire."""
        return getattr(run_pb2, f"CERTIFICATE_STATE_{self}")


_JOB_STATES = {
    JobOutcome.COMPLETED: JobState.SUCCEEDED,
    JobOutcome.USER_ERROR: JobState.FAILED,
    JobOutcome.CRASH: JobState.FAILED,
    JobOutcome.OUT_OF_MEMORY: JobState.FAILED,
    JobOutcome.TIME_LIMIT: JobState.STOPPED,
    JobOutcome.LEASE_EXPIRED: JobState.LOST,
    JobOutcome.VANISHED: JobState.LOST,
    JobOutcome.FENCED: JobState.LOST,
    JobOutcome.REQUESTED: JobState.STOPPED,
    JobOutcome.PLATFORM: JobState.FAILED,
    JobOutcome.BUDGET: JobState.STOPPED,
    JobOutcome.DIVERGED: JobState.FAILED,
    JobOutcome.TARGET_REACHED: JobState.SUCCEEDED,
    JobOutcome.PLATEAU: JobState.SUCCEEDED,
    JobOutcome.EVICTED: JobState.LOST,
    JobOutcome.IMAGE_PULL: JobState.FAILED,
}

RUN_MACHINE: Machine[RunState] = Machine(
    "run",
    {
        RunState.PENDING: {
            RunState.RUNNING,
            RunState.PAUSED,
            RunState.INTERRUPTED,
            RunState.FAILED,
            RunState.CANCELLED,
            RunState.STOPPED,
        },
        RunState.RUNNING: {
            RunState.PAUSED,
            RunState.INTERRUPTED,
            RunState.COMPLETED,
            RunState.FAILED,
            RunState.CANCELLED,
            RunState.STOPPED,
        },
        RunState.INTERRUPTED: {
            # The next attempt may end before it took its lease.
            RunState.INTERRUPTED,
            RunState.RUNNING,
            RunState.PAUSED,
            RunState.COMPLETED,
            RunState.FAILED,
            RunState.CANCELLED,
            RunState.STOPPED,
        },
        RunState.PAUSED: {RunState.PENDING, RunState.CANCELLED, RunState.STOPPED},
        RunState.FAILED: {RunState.PENDING},
        RunState.STOPPED: {RunState.PENDING},
        RunState.COMPLETED: set(),
        RunState.CANCELLED: set(),
    },
)

JOB_MACHINE: Machine[JobState] = Machine(
    "job",
    {
        JobState.PENDING: {JobState.STARTING, JobState.STOPPED},
        JobState.STARTING: {
            JobState.RUNNING,
            JobState.SUCCEEDED,
            JobState.FAILED,
            JobState.LOST,
            JobState.STOPPED,
        },
        JobState.RUNNING: {
            JobState.SUCCEEDED,
            JobState.FAILED,
            JobState.LOST,
            JobState.STOPPED,
        },
        JobState.SUCCEEDED: set(),
        JobState.FAILED: set(),
        JobState.LOST: set(),
        JobState.STOPPED: set(),
    },
)

SETTLED = frozenset({RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED, RunState.STOPPED})
"""Run states in which nothing is at work and nothing is due."""
AT_WORK = frozenset({JobState.STARTING, JobState.RUNNING})
"""Job states that occupy a slot."""
ACTIVE = AT_WORK | {JobState.PENDING}
"""Job states before the end."""
