import datetime

from elodrome.registry.v1 import checkpoint_pb2 as _checkpoint_pb2
from elodrome.registry.v1 import model_pb2 as _model_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CheckpointSaved(_message.Message):
    __slots__ = ("checkpoint_id", "run_id", "owner_id", "job_id", "iteration", "steps", "sha256", "size_bytes", "signature", "metrics", "is_best", "commit_time")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ITERATION_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    IS_BEST_FIELD_NUMBER: _ClassVar[int]
    COMMIT_TIME_FIELD_NUMBER: _ClassVar[int]
    checkpoint_id: str
    run_id: str
    owner_id: str
    job_id: str
    iteration: int
    steps: int
    sha256: str
    size_bytes: int
    signature: _checkpoint_pb2.Signature
    metrics: _containers.ScalarMap[str, float]
    is_best: bool
    commit_time: _timestamp_pb2.Timestamp
    def __init__(self, checkpoint_id: _Optional[str] = ..., run_id: _Optional[str] = ..., owner_id: _Optional[str] = ..., job_id: _Optional[str] = ..., iteration: _Optional[int] = ..., steps: _Optional[int] = ..., sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ..., signature: _Optional[_Union[_checkpoint_pb2.Signature, _Mapping]] = ..., metrics: _Optional[_Mapping[str, float]] = ..., is_best: _Optional[bool] = ..., commit_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class VersionCreated(_message.Message):
    __slots__ = ("version_id", "model_id", "model_name", "number", "checkpoint_id", "run_id", "sha256", "creator_id", "create_time")
    VERSION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    CREATOR_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    version_id: str
    model_id: str
    model_name: str
    number: int
    checkpoint_id: str
    run_id: str
    sha256: str
    creator_id: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, version_id: _Optional[str] = ..., model_id: _Optional[str] = ..., model_name: _Optional[str] = ..., number: _Optional[int] = ..., checkpoint_id: _Optional[str] = ..., run_id: _Optional[str] = ..., sha256: _Optional[str] = ..., creator_id: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ModelPromoted(_message.Message):
    __slots__ = ("promotion_id", "model_id", "model_name", "version_id", "version_number", "checkpoint_id", "sha256", "previous_version_id", "kind", "decision_id", "promote_time")
    PROMOTION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_NUMBER_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_VERSION_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    PROMOTE_TIME_FIELD_NUMBER: _ClassVar[int]
    promotion_id: str
    model_id: str
    model_name: str
    version_id: str
    version_number: int
    checkpoint_id: str
    sha256: str
    previous_version_id: str
    kind: _model_pb2.PromotionKind
    decision_id: str
    promote_time: _timestamp_pb2.Timestamp
    def __init__(self, promotion_id: _Optional[str] = ..., model_id: _Optional[str] = ..., model_name: _Optional[str] = ..., version_id: _Optional[str] = ..., version_number: _Optional[int] = ..., checkpoint_id: _Optional[str] = ..., sha256: _Optional[str] = ..., previous_version_id: _Optional[str] = ..., kind: _Optional[_Union[_model_pb2.PromotionKind, str]] = ..., decision_id: _Optional[str] = ..., promote_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
