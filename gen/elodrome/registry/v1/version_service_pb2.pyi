import datetime

from elodrome.auth.v1 import rule_pb2 as _rule_pb2
from elodrome.registry.v1 import checkpoint_pb2 as _checkpoint_pb2
from elodrome.registry.v1 import model_pb2 as _model_pb2
from elodrome.rest.v1 import rest_pb2 as _rest_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateVersionRequest(_message.Message):
    __slots__ = ("model_id", "checkpoint_id", "description", "tag", "request_id")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    checkpoint_id: str
    description: str
    tag: str
    request_id: str
    def __init__(self, model_id: _Optional[str] = ..., checkpoint_id: _Optional[str] = ..., description: _Optional[str] = ..., tag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class GetVersionRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ResolveVersionRequest(_message.Message):
    __slots__ = ("reference",)
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    reference: str
    def __init__(self, reference: _Optional[str] = ...) -> None: ...

class GetStableVersionRequest(_message.Message):
    __slots__ = ("model_id", "as_of")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    as_of: _timestamp_pb2.Timestamp
    def __init__(self, model_id: _Optional[str] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListVersionsRequest(_message.Message):
    __slots__ = ("model_id", "page_size", "page_token", "tag", "checkpoint_id")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    page_size: int
    page_token: str
    tag: str
    checkpoint_id: str
    def __init__(self, model_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., tag: _Optional[str] = ..., checkpoint_id: _Optional[str] = ...) -> None: ...

class ListVersionsResponse(_message.Message):
    __slots__ = ("items", "next_page_token", "total")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[_model_pb2.Version]
    next_page_token: str
    total: int
    def __init__(self, items: _Optional[_Iterable[_Union[_model_pb2.Version, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total: _Optional[int] = ...) -> None: ...

class UpdateVersionRequest(_message.Message):
    __slots__ = ("id", "tag", "description")
    ID_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    id: str
    tag: str
    description: str
    def __init__(self, id: _Optional[str] = ..., tag: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class DeleteVersionRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class DeleteVersionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PromoteVersionRequest(_message.Message):
    __slots__ = ("id", "model_id", "decision_id", "override", "reason", "expected_stable_version_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    OVERRIDE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_STABLE_VERSION_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    model_id: str
    decision_id: str
    override: bool
    reason: str
    expected_stable_version_id: str
    def __init__(self, id: _Optional[str] = ..., model_id: _Optional[str] = ..., decision_id: _Optional[str] = ..., override: _Optional[bool] = ..., reason: _Optional[str] = ..., expected_stable_version_id: _Optional[str] = ...) -> None: ...

class GetLineageRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class Lineage(_message.Message):
    __slots__ = ("version", "model", "checkpoint", "run_id", "config", "code_commit", "game_id", "map_id", "decisions", "promotions")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CODE_COMMIT_FIELD_NUMBER: _ClassVar[int]
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    MAP_ID_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    PROMOTIONS_FIELD_NUMBER: _ClassVar[int]
    version: _model_pb2.Version
    model: _model_pb2.Model
    checkpoint: _checkpoint_pb2.Checkpoint
    run_id: str
    config: _struct_pb2.Struct
    code_commit: str
    game_id: str
    map_id: str
    decisions: _containers.RepeatedCompositeFieldContainer[GateEvidence]
    promotions: _containers.RepeatedCompositeFieldContainer[_model_pb2.Promotion]
    def __init__(self, version: _Optional[_Union[_model_pb2.Version, _Mapping]] = ..., model: _Optional[_Union[_model_pb2.Model, _Mapping]] = ..., checkpoint: _Optional[_Union[_checkpoint_pb2.Checkpoint, _Mapping]] = ..., run_id: _Optional[str] = ..., config: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., code_commit: _Optional[str] = ..., game_id: _Optional[str] = ..., map_id: _Optional[str] = ..., decisions: _Optional[_Iterable[_Union[GateEvidence, _Mapping]]] = ..., promotions: _Optional[_Iterable[_Union[_model_pb2.Promotion, _Mapping]]] = ...) -> None: ...

class GateEvidence(_message.Message):
    __slots__ = ("decision_id", "model_id", "checkpoint_id", "passed", "decide_time")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    DECIDE_TIME_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    model_id: str
    checkpoint_id: str
    passed: bool
    decide_time: _timestamp_pb2.Timestamp
    def __init__(self, decision_id: _Optional[str] = ..., model_id: _Optional[str] = ..., checkpoint_id: _Optional[str] = ..., passed: _Optional[bool] = ..., decide_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DownloadVersionRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class DownloadVersionResponse(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...
