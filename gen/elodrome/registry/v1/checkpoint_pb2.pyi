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

class CheckpointState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHECKPOINT_STATE_UNSPECIFIED: _ClassVar[CheckpointState]
    CHECKPOINT_STATE_PENDING: _ClassVar[CheckpointState]
    CHECKPOINT_STATE_COMMITTED: _ClassVar[CheckpointState]
    CHECKPOINT_STATE_CORRUPT: _ClassVar[CheckpointState]
CHECKPOINT_STATE_UNSPECIFIED: CheckpointState
CHECKPOINT_STATE_PENDING: CheckpointState
CHECKPOINT_STATE_COMMITTED: CheckpointState
CHECKPOINT_STATE_CORRUPT: CheckpointState

class Signature(_message.Message):
    __slots__ = ("algorithm", "game", "scenario", "observation_shape", "action_combinations", "action_count", "frame_skip", "recurrent")
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    GAME_FIELD_NUMBER: _ClassVar[int]
    SCENARIO_FIELD_NUMBER: _ClassVar[int]
    OBSERVATION_SHAPE_FIELD_NUMBER: _ClassVar[int]
    ACTION_COMBINATIONS_FIELD_NUMBER: _ClassVar[int]
    ACTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    FRAME_SKIP_FIELD_NUMBER: _ClassVar[int]
    RECURRENT_FIELD_NUMBER: _ClassVar[int]
    algorithm: str
    game: str
    scenario: str
    observation_shape: _containers.RepeatedScalarFieldContainer[int]
    action_combinations: str
    action_count: int
    frame_skip: int
    recurrent: bool
    def __init__(self, algorithm: _Optional[str] = ..., game: _Optional[str] = ..., scenario: _Optional[str] = ..., observation_shape: _Optional[_Iterable[int]] = ..., action_combinations: _Optional[str] = ..., action_count: _Optional[int] = ..., frame_skip: _Optional[int] = ..., recurrent: _Optional[bool] = ...) -> None: ...

class Artifact(_message.Message):
    __slots__ = ("sha256", "size_bytes", "verify_time")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    VERIFY_TIME_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    size_bytes: int
    verify_time: _timestamp_pb2.Timestamp
    def __init__(self, sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ..., verify_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("id", "run_id", "owner_id", "job_id", "epoch", "state", "iteration", "steps", "artifact", "signature", "manifest", "metrics", "is_best", "corrupt_reason", "create_time", "commit_time", "update_time", "tensor_groups")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ITERATION_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    IS_BEST_FIELD_NUMBER: _ClassVar[int]
    CORRUPT_REASON_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    COMMIT_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    TENSOR_GROUPS_FIELD_NUMBER: _ClassVar[int]
    id: str
    run_id: str
    owner_id: str
    job_id: str
    epoch: int
    state: CheckpointState
    iteration: int
    steps: int
    artifact: Artifact
    signature: Signature
    manifest: _struct_pb2.Struct
    metrics: _containers.ScalarMap[str, float]
    is_best: bool
    corrupt_reason: str
    create_time: _timestamp_pb2.Timestamp
    commit_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    tensor_groups: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., run_id: _Optional[str] = ..., owner_id: _Optional[str] = ..., job_id: _Optional[str] = ..., epoch: _Optional[int] = ..., state: _Optional[_Union[CheckpointState, str]] = ..., iteration: _Optional[int] = ..., steps: _Optional[int] = ..., artifact: _Optional[_Union[Artifact, _Mapping]] = ..., signature: _Optional[_Union[Signature, _Mapping]] = ..., manifest: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., metrics: _Optional[_Mapping[str, float]] = ..., is_best: _Optional[bool] = ..., corrupt_reason: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., commit_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., tensor_groups: _Optional[_Iterable[str]] = ...) -> None: ...
