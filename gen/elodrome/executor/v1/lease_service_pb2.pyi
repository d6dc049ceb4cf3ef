import datetime

from elodrome.auth.v1 import rule_pb2 as _rule_pb2
from elodrome.executor.v1 import provenance_pb2 as _provenance_pb2
from elodrome.executor.v1 import run_pb2 as _run_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LeaseAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEASE_ACTION_UNSPECIFIED: _ClassVar[LeaseAction]
    LEASE_ACTION_CONTINUE: _ClassVar[LeaseAction]
    LEASE_ACTION_STOP: _ClassVar[LeaseAction]
    LEASE_ACTION_PAUSE: _ClassVar[LeaseAction]
    LEASE_ACTION_CANCEL: _ClassVar[LeaseAction]
LEASE_ACTION_UNSPECIFIED: LeaseAction
LEASE_ACTION_CONTINUE: LeaseAction
LEASE_ACTION_STOP: LeaseAction
LEASE_ACTION_PAUSE: LeaseAction
LEASE_ACTION_CANCEL: LeaseAction

class AcquireLeaseRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class AcquireLeaseResponse(_message.Message):
    __slots__ = ("lease_token", "epoch", "expire_time", "heartbeat_interval_s", "run", "job", "time_left_s")
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_S_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    TIME_LEFT_S_FIELD_NUMBER: _ClassVar[int]
    lease_token: str
    epoch: int
    expire_time: _timestamp_pb2.Timestamp
    heartbeat_interval_s: float
    run: _run_pb2.Run
    job: _run_pb2.Job
    time_left_s: float
    def __init__(self, lease_token: _Optional[str] = ..., epoch: _Optional[int] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., heartbeat_interval_s: _Optional[float] = ..., run: _Optional[_Union[_run_pb2.Run, _Mapping]] = ..., job: _Optional[_Union[_run_pb2.Job, _Mapping]] = ..., time_left_s: _Optional[float] = ...) -> None: ...

class HeartbeatRequest(_message.Message):
    __slots__ = ("current_iteration", "max_iterations", "step", "phase", "checkpoint", "resumed_from", "cpu_s")
    CURRENT_ITERATION_FIELD_NUMBER: _ClassVar[int]
    MAX_ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FROM_FIELD_NUMBER: _ClassVar[int]
    CPU_S_FIELD_NUMBER: _ClassVar[int]
    current_iteration: int
    max_iterations: int
    step: int
    phase: str
    checkpoint: _run_pb2.CheckpointRef
    resumed_from: _run_pb2.CheckpointRef
    cpu_s: float
    def __init__(self, current_iteration: _Optional[int] = ..., max_iterations: _Optional[int] = ..., step: _Optional[int] = ..., phase: _Optional[str] = ..., checkpoint: _Optional[_Union[_run_pb2.CheckpointRef, _Mapping]] = ..., resumed_from: _Optional[_Union[_run_pb2.CheckpointRef, _Mapping]] = ..., cpu_s: _Optional[float] = ...) -> None: ...

class HeartbeatResponse(_message.Message):
    __slots__ = ("lease_token", "expire_time", "action")
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    lease_token: str
    expire_time: _timestamp_pb2.Timestamp
    action: LeaseAction
    def __init__(self, lease_token: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., action: _Optional[_Union[LeaseAction, str]] = ...) -> None: ...

class ReportProvenanceRequest(_message.Message):
    __slots__ = ("provenance",)
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    provenance: _provenance_pb2.Provenance
    def __init__(self, provenance: _Optional[_Union[_provenance_pb2.Provenance, _Mapping]] = ...) -> None: ...

class ReportProvenanceResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReportOutcomeRequest(_message.Message):
    __slots__ = ("outcome", "reason", "exit_code", "final", "replayed_sha256")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_SHA256_FIELD_NUMBER: _ClassVar[int]
    outcome: _run_pb2.JobOutcome
    reason: str
    exit_code: int
    final: HeartbeatRequest
    replayed_sha256: str
    def __init__(self, outcome: _Optional[_Union[_run_pb2.JobOutcome, str]] = ..., reason: _Optional[str] = ..., exit_code: _Optional[int] = ..., final: _Optional[_Union[HeartbeatRequest, _Mapping]] = ..., replayed_sha256: _Optional[str] = ...) -> None: ...

class ReportOutcomeResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: _run_pb2.Run
    def __init__(self, run: _Optional[_Union[_run_pb2.Run, _Mapping]] = ...) -> None: ...
