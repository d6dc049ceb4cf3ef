from elodrome.executor.v1 import run_pb2 as _run_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RunStateChanged(_message.Message):
    __slots__ = ("run_id", "type", "previous_state", "state", "reason", "last_error", "owner_id", "request_id")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_STATE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    OWNER_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    type: _run_pb2.RunType
    previous_state: _run_pb2.RunState
    state: _run_pb2.RunState
    reason: str
    last_error: str
    owner_id: str
    request_id: str
    def __init__(self, run_id: _Optional[str] = ..., type: _Optional[_Union[_run_pb2.RunType, str]] = ..., previous_state: _Optional[_Union[_run_pb2.RunState, str]] = ..., state: _Optional[_Union[_run_pb2.RunState, str]] = ..., reason: _Optional[str] = ..., last_error: _Optional[str] = ..., owner_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class JobStateChanged(_message.Message):
    __slots__ = ("run_id", "job_id", "attempt", "previous_state", "state", "outcome", "reason", "type", "request_id")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_STATE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    job_id: str
    attempt: int
    previous_state: _run_pb2.JobState
    state: _run_pb2.JobState
    outcome: _run_pb2.JobOutcome
    reason: str
    type: _run_pb2.RunType
    request_id: str
    def __init__(self, run_id: _Optional[str] = ..., job_id: _Optional[str] = ..., attempt: _Optional[int] = ..., previous_state: _Optional[_Union[_run_pb2.JobState, str]] = ..., state: _Optional[_Union[_run_pb2.JobState, str]] = ..., outcome: _Optional[_Union[_run_pb2.JobOutcome, str]] = ..., reason: _Optional[str] = ..., type: _Optional[_Union[_run_pb2.RunType, str]] = ..., request_id: _Optional[str] = ...) -> None: ...
