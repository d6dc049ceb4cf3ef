import datetime

from elodrome.evaluator.v1 import agent_pb2 as _agent_pb2
from elodrome.evaluator.v1 import evaluation_pb2 as _evaluation_pb2
from elodrome.evaluator.v1 import match_pb2 as _match_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EvaluationFinished(_message.Message):
    __slots__ = ("evaluation_id", "suite_id", "suite_version", "checkpoint_id", "checkpoint_sha256", "agent", "state", "means", "error", "owner_id", "finish_time")
    class MeansEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    EVALUATION_ID_FIELD_NUMBER: _ClassVar[int]
    SUITE_ID_FIELD_NUMBER: _ClassVar[int]
    SUITE_VERSION_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_SHA256_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MEANS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    OWNER_ID_FIELD_NUMBER: _ClassVar[int]
    FINISH_TIME_FIELD_NUMBER: _ClassVar[int]
    evaluation_id: str
    suite_id: str
    suite_version: int
    checkpoint_id: str
    checkpoint_sha256: str
    agent: str
    state: _evaluation_pb2.EvaluationState
    means: _containers.ScalarMap[str, float]
    error: str
    owner_id: str
    finish_time: _timestamp_pb2.Timestamp
    def __init__(self, evaluation_id: _Optional[str] = ..., suite_id: _Optional[str] = ..., suite_version: _Optional[int] = ..., checkpoint_id: _Optional[str] = ..., checkpoint_sha256: _Optional[str] = ..., agent: _Optional[str] = ..., state: _Optional[_Union[_evaluation_pb2.EvaluationState, str]] = ..., means: _Optional[_Mapping[str, float]] = ..., error: _Optional[str] = ..., owner_id: _Optional[str] = ..., finish_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GateDecided(_message.Message):
    __slots__ = ("decision_id", "model_id", "version_id", "checkpoint_id", "checkpoint_sha256", "passed", "failed_rules", "policy_id", "policy_version", "owner_id", "decide_time")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_SHA256_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    FAILED_RULES_FIELD_NUMBER: _ClassVar[int]
    POLICY_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    OWNER_ID_FIELD_NUMBER: _ClassVar[int]
    DECIDE_TIME_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    model_id: str
    version_id: str
    checkpoint_id: str
    checkpoint_sha256: str
    passed: bool
    failed_rules: _containers.RepeatedScalarFieldContainer[str]
    policy_id: str
    policy_version: int
    owner_id: str
    decide_time: _timestamp_pb2.Timestamp
    def __init__(self, decision_id: _Optional[str] = ..., model_id: _Optional[str] = ..., version_id: _Optional[str] = ..., checkpoint_id: _Optional[str] = ..., checkpoint_sha256: _Optional[str] = ..., passed: _Optional[bool] = ..., failed_rules: _Optional[_Iterable[str]] = ..., policy_id: _Optional[str] = ..., policy_version: _Optional[int] = ..., owner_id: _Optional[str] = ..., decide_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class MatchFinished(_message.Message):
    __slots__ = ("match",)
    MATCH_FIELD_NUMBER: _ClassVar[int]
    match: _match_pb2.Match
    def __init__(self, match: _Optional[_Union[_match_pb2.Match, _Mapping]] = ...) -> None: ...

class SubmissionBuilt(_message.Message):
    __slots__ = ("submission_id", "agent_id", "number", "state", "error", "owner_id", "finish_time")
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    OWNER_ID_FIELD_NUMBER: _ClassVar[int]
    FINISH_TIME_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    agent_id: str
    number: int
    state: _agent_pb2.SubmissionState
    error: str
    owner_id: str
    finish_time: _timestamp_pb2.Timestamp
    def __init__(self, submission_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., number: _Optional[int] = ..., state: _Optional[_Union[_agent_pb2.SubmissionState, str]] = ..., error: _Optional[str] = ..., owner_id: _Optional[str] = ..., finish_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
