import datetime

from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RunType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_TYPE_UNSPECIFIED: _ClassVar[RunType]
    RUN_TYPE_TRAINING: _ClassVar[RunType]
    RUN_TYPE_EVALUATION: _ClassVar[RunType]
    RUN_TYPE_TESTING: _ClassVar[RunType]
    RUN_TYPE_EXTERNAL: _ClassVar[RunType]
    RUN_TYPE_CERTIFICATION: _ClassVar[RunType]
    RUN_TYPE_MATCH: _ClassVar[RunType]
    RUN_TYPE_BUILD: _ClassVar[RunType]

class RunState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_STATE_UNSPECIFIED: _ClassVar[RunState]
    RUN_STATE_PENDING: _ClassVar[RunState]
    RUN_STATE_RUNNING: _ClassVar[RunState]
    RUN_STATE_PAUSED: _ClassVar[RunState]
    RUN_STATE_INTERRUPTED: _ClassVar[RunState]
    RUN_STATE_COMPLETED: _ClassVar[RunState]
    RUN_STATE_FAILED: _ClassVar[RunState]
    RUN_STATE_CANCELLED: _ClassVar[RunState]
    RUN_STATE_STOPPED: _ClassVar[RunState]

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_PENDING: _ClassVar[JobState]
    JOB_STATE_STARTING: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_SUCCEEDED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_LOST: _ClassVar[JobState]
    JOB_STATE_STOPPED: _ClassVar[JobState]

class JobOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_OUTCOME_UNSPECIFIED: _ClassVar[JobOutcome]
    JOB_OUTCOME_COMPLETED: _ClassVar[JobOutcome]
    JOB_OUTCOME_USER_ERROR: _ClassVar[JobOutcome]
    JOB_OUTCOME_CRASH: _ClassVar[JobOutcome]
    JOB_OUTCOME_OUT_OF_MEMORY: _ClassVar[JobOutcome]
    JOB_OUTCOME_TIME_LIMIT: _ClassVar[JobOutcome]
    JOB_OUTCOME_LEASE_EXPIRED: _ClassVar[JobOutcome]
    JOB_OUTCOME_VANISHED: _ClassVar[JobOutcome]
    JOB_OUTCOME_FENCED: _ClassVar[JobOutcome]
    JOB_OUTCOME_REQUESTED: _ClassVar[JobOutcome]
    JOB_OUTCOME_PLATFORM: _ClassVar[JobOutcome]
    JOB_OUTCOME_BUDGET: _ClassVar[JobOutcome]
    JOB_OUTCOME_DIVERGED: _ClassVar[JobOutcome]
    JOB_OUTCOME_TARGET_REACHED: _ClassVar[JobOutcome]
    JOB_OUTCOME_PLATEAU: _ClassVar[JobOutcome]
    JOB_OUTCOME_EVICTED: _ClassVar[JobOutcome]
    JOB_OUTCOME_IMAGE_PULL: _ClassVar[JobOutcome]

class CertificateState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CERTIFICATE_STATE_UNSPECIFIED: _ClassVar[CertificateState]
    CERTIFICATE_STATE_NONE: _ClassVar[CertificateState]
    CERTIFICATE_STATE_PENDING: _ClassVar[CertificateState]
    CERTIFICATE_STATE_CERTIFIED: _ClassVar[CertificateState]
    CERTIFICATE_STATE_REFUTED: _ClassVar[CertificateState]
    CERTIFICATE_STATE_FAILED: _ClassVar[CertificateState]
RUN_TYPE_UNSPECIFIED: RunType
RUN_TYPE_TRAINING: RunType
RUN_TYPE_EVALUATION: RunType
RUN_TYPE_TESTING: RunType
RUN_TYPE_EXTERNAL: RunType
RUN_TYPE_CERTIFICATION: RunType
RUN_TYPE_MATCH: RunType
RUN_TYPE_BUILD: RunType
RUN_STATE_UNSPECIFIED: RunState
RUN_STATE_PENDING: RunState
RUN_STATE_RUNNING: RunState
RUN_STATE_PAUSED: RunState
RUN_STATE_INTERRUPTED: RunState
RUN_STATE_COMPLETED: RunState
RUN_STATE_FAILED: RunState
RUN_STATE_CANCELLED: RunState
RUN_STATE_STOPPED: RunState
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_PENDING: JobState
JOB_STATE_STARTING: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_SUCCEEDED: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_LOST: JobState
JOB_STATE_STOPPED: JobState
JOB_OUTCOME_UNSPECIFIED: JobOutcome
JOB_OUTCOME_COMPLETED: JobOutcome
JOB_OUTCOME_USER_ERROR: JobOutcome
JOB_OUTCOME_CRASH: JobOutcome
JOB_OUTCOME_OUT_OF_MEMORY: JobOutcome
JOB_OUTCOME_TIME_LIMIT: JobOutcome
JOB_OUTCOME_LEASE_EXPIRED: JobOutcome
JOB_OUTCOME_VANISHED: JobOutcome
JOB_OUTCOME_FENCED: JobOutcome
JOB_OUTCOME_REQUESTED: JobOutcome
JOB_OUTCOME_PLATFORM: JobOutcome
JOB_OUTCOME_BUDGET: JobOutcome
JOB_OUTCOME_DIVERGED: JobOutcome
JOB_OUTCOME_TARGET_REACHED: JobOutcome
JOB_OUTCOME_PLATEAU: JobOutcome
JOB_OUTCOME_EVICTED: JobOutcome
JOB_OUTCOME_IMAGE_PULL: JobOutcome
CERTIFICATE_STATE_UNSPECIFIED: CertificateState
CERTIFICATE_STATE_NONE: CertificateState
CERTIFICATE_STATE_PENDING: CertificateState
CERTIFICATE_STATE_CERTIFIED: CertificateState
CERTIFICATE_STATE_REFUTED: CertificateState
CERTIFICATE_STATE_FAILED: CertificateState

class Progress(_message.Message):
    __slots__ = ("current_iteration", "max_iterations", "progress_percent", "elapsed_s", "estimated_remaining_s", "steps_per_s", "phase", "step")
    CURRENT_ITERATION_FIELD_NUMBER: _ClassVar[int]
    MAX_ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_PERCENT_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_S_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_REMAINING_S_FIELD_NUMBER: _ClassVar[int]
    STEPS_PER_S_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    current_iteration: int
    max_iterations: int
    progress_percent: float
    elapsed_s: float
    estimated_remaining_s: float
    steps_per_s: float
    phase: str
    step: int
    def __init__(self, current_iteration: _Optional[int] = ..., max_iterations: _Optional[int] = ..., progress_percent: _Optional[float] = ..., elapsed_s: _Optional[float] = ..., estimated_remaining_s: _Optional[float] = ..., steps_per_s: _Optional[float] = ..., phase: _Optional[str] = ..., step: _Optional[int] = ...) -> None: ...

class CheckpointRef(_message.Message):
    __slots__ = ("checkpoint_id", "iteration", "step")
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    ITERATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    checkpoint_id: str
    iteration: int
    step: int
    def __init__(self, checkpoint_id: _Optional[str] = ..., iteration: _Optional[int] = ..., step: _Optional[int] = ...) -> None: ...

class Certificate(_message.Message):
    __slots__ = ("state", "certification_run_id", "seed", "start_checkpoint", "end_checkpoint", "expected_sha256", "replayed_sha256", "reason", "end_time")
    STATE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATION_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    START_CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    END_CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_SHA256_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_SHA256_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    state: CertificateState
    certification_run_id: str
    seed: int
    start_checkpoint: CheckpointRef
    end_checkpoint: CheckpointRef
    expected_sha256: str
    replayed_sha256: str
    reason: str
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, state: _Optional[_Union[CertificateState, str]] = ..., certification_run_id: _Optional[str] = ..., seed: _Optional[int] = ..., start_checkpoint: _Optional[_Union[CheckpointRef, _Mapping]] = ..., end_checkpoint: _Optional[_Union[CheckpointRef, _Mapping]] = ..., expected_sha256: _Optional[str] = ..., replayed_sha256: _Optional[str] = ..., reason: _Optional[str] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Resources(_message.Message):
    __slots__ = ("cpus", "memory_bytes", "gpus")
    CPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    cpus: float
    memory_bytes: int
    gpus: int
    def __init__(self, cpus: _Optional[float] = ..., memory_bytes: _Optional[int] = ..., gpus: _Optional[int] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("id", "name", "type", "state", "requested_state", "owner_id", "config", "seed", "game", "map_id", "model_id", "group", "notes", "tags", "parent_run_id", "request_id", "priority", "queue_position", "attempt", "max_retries", "retry_backoff_s", "time_limit_s", "elapsed_s", "progress", "latest_metrics", "checkpoint_count", "latest_checkpoint", "is_resumed", "steps_lost", "reason", "last_error", "create_time", "update_time", "start_time", "end_time", "cpu_s", "cpu_limit_s", "certificate", "warnings", "resources", "worker_count")
    class LatestMetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_STATE_FIELD_NUMBER: _ClassVar[int]
    OWNER_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    GAME_FIELD_NUMBER: _ClassVar[int]
    MAP_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    PARENT_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    QUEUE_POSITION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    RETRY_BACKOFF_S_FIELD_NUMBER: _ClassVar[int]
    TIME_LIMIT_S_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_S_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    LATEST_METRICS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_COUNT_FIELD_NUMBER: _ClassVar[int]
    LATEST_CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    IS_RESUMED_FIELD_NUMBER: _ClassVar[int]
    STEPS_LOST_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    CPU_S_FIELD_NUMBER: _ClassVar[int]
    CPU_LIMIT_S_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    WORKER_COUNT_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    type: RunType
    state: RunState
    requested_state: RunState
    owner_id: str
    config: _struct_pb2.Struct
    seed: int
    game: str
    map_id: str
    model_id: str
    group: str
    notes: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    parent_run_id: str
    request_id: str
    priority: int
    queue_position: int
    attempt: int
    max_retries: int
    retry_backoff_s: float
    time_limit_s: int
    elapsed_s: float
    progress: Progress
    latest_metrics: _containers.ScalarMap[str, float]
    checkpoint_count: int
    latest_checkpoint: CheckpointRef
    is_resumed: bool
    steps_lost: int
    reason: str
    last_error: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    cpu_s: float
    cpu_limit_s: int
    certificate: Certificate
    warnings: _containers.RepeatedScalarFieldContainer[str]
    resources: Resources
    worker_count: int
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., type: _Optional[_Union[RunType, str]] = ..., state: _Optional[_Union[RunState, str]] = ..., requested_state: _Optional[_Union[RunState, str]] = ..., owner_id: _Optional[str] = ..., config: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., seed: _Optional[int] = ..., game: _Optional[str] = ..., map_id: _Optional[str] = ..., model_id: _Optional[str] = ..., group: _Optional[str] = ..., notes: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., parent_run_id: _Optional[str] = ..., request_id: _Optional[str] = ..., priority: _Optional[int] = ..., queue_position: _Optional[int] = ..., attempt: _Optional[int] = ..., max_retries: _Optional[int] = ..., retry_backoff_s: _Optional[float] = ..., time_limit_s: _Optional[int] = ..., elapsed_s: _Optional[float] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., latest_metrics: _Optional[_Mapping[str, float]] = ..., checkpoint_count: _Optional[int] = ..., latest_checkpoint: _Optional[_Union[CheckpointRef, _Mapping]] = ..., is_resumed: _Optional[bool] = ..., steps_lost: _Optional[int] = ..., reason: _Optional[str] = ..., last_error: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cpu_s: _Optional[float] = ..., cpu_limit_s: _Optional[int] = ..., certificate: _Optional[_Union[Certificate, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ..., resources: _Optional[_Union[Resources, _Mapping]] = ..., worker_count: _Optional[int] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "run_id", "attempt", "state", "outcome", "epoch", "exit_code", "reason", "driver_ref", "create_time", "not_before_time", "start_time", "end_time", "expire_time", "cpu_s")
    ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DRIVER_REF_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    CPU_S_FIELD_NUMBER: _ClassVar[int]
    id: str
    run_id: str
    attempt: int
    state: JobState
    outcome: JobOutcome
    epoch: int
    exit_code: int
    reason: str
    driver_ref: str
    create_time: _timestamp_pb2.Timestamp
    not_before_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    cpu_s: float
    def __init__(self, id: _Optional[str] = ..., run_id: _Optional[str] = ..., attempt: _Optional[int] = ..., state: _Optional[_Union[JobState, str]] = ..., outcome: _Optional[_Union[JobOutcome, str]] = ..., epoch: _Optional[int] = ..., exit_code: _Optional[int] = ..., reason: _Optional[str] = ..., driver_ref: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., not_before_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cpu_s: _Optional[float] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("number", "attempt", "time", "text")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    number: int
    attempt: int
    time: _timestamp_pb2.Timestamp
    text: str
    def __init__(self, number: _Optional[int] = ..., attempt: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., text: _Optional[str] = ...) -> None: ...
