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

class SessionMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SESSION_MODE_UNSPECIFIED: _ClassVar[SessionMode]
    SESSION_MODE_PRACTICE: _ClassVar[SessionMode]
    SESSION_MODE_DUEL: _ClassVar[SessionMode]
    SESSION_MODE_DRILL: _ClassVar[SessionMode]

class SessionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SESSION_STATE_UNSPECIFIED: _ClassVar[SessionState]
    SESSION_STATE_ACTIVE: _ClassVar[SessionState]
    SESSION_STATE_ENDED: _ClassVar[SessionState]
    SESSION_STATE_ABANDONED: _ClassVar[SessionState]

class PinSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PIN_SOURCE_UNSPECIFIED: _ClassVar[PinSource]
    PIN_SOURCE_REGISTRY: _ClassVar[PinSource]
    PIN_SOURCE_PROMOTION_EVENT: _ClassVar[PinSource]

class InsightKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INSIGHT_KIND_UNSPECIFIED: _ClassVar[InsightKind]
    INSIGHT_KIND_STRENGTH: _ClassVar[InsightKind]
    INSIGHT_KIND_WEAKNESS: _ClassVar[InsightKind]
SESSION_MODE_UNSPECIFIED: SessionMode
SESSION_MODE_PRACTICE: SessionMode
SESSION_MODE_DUEL: SessionMode
SESSION_MODE_DRILL: SessionMode
SESSION_STATE_UNSPECIFIED: SessionState
SESSION_STATE_ACTIVE: SessionState
SESSION_STATE_ENDED: SessionState
SESSION_STATE_ABANDONED: SessionState
PIN_SOURCE_UNSPECIFIED: PinSource
PIN_SOURCE_REGISTRY: PinSource
PIN_SOURCE_PROMOTION_EVENT: PinSource
INSIGHT_KIND_UNSPECIFIED: InsightKind
INSIGHT_KIND_STRENGTH: InsightKind
INSIGHT_KIND_WEAKNESS: InsightKind

class Opponent(_message.Message):
    __slots__ = ("model_id", "model_name", "version_id", "version_number", "checkpoint_id", "sha256", "styles", "source")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_NUMBER_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    STYLES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    model_name: str
    version_id: str
    version_number: int
    checkpoint_id: str
    sha256: str
    styles: _containers.RepeatedScalarFieldContainer[str]
    source: PinSource
    def __init__(self, model_id: _Optional[str] = ..., model_name: _Optional[str] = ..., version_id: _Optional[str] = ..., version_number: _Optional[int] = ..., checkpoint_id: _Optional[str] = ..., sha256: _Optional[str] = ..., styles: _Optional[_Iterable[str]] = ..., source: _Optional[_Union[PinSource, str]] = ...) -> None: ...

class Session(_message.Message):
    __slots__ = ("id", "owner_id", "mode", "difficulty", "opponent_style", "opponent", "drill", "state", "end_reason", "score", "event_count", "create_time", "update_time", "end_time", "idle_expire_time", "expire_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_ID_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    DIFFICULTY_FIELD_NUMBER: _ClassVar[int]
    OPPONENT_STYLE_FIELD_NUMBER: _ClassVar[int]
    OPPONENT_FIELD_NUMBER: _ClassVar[int]
    DRILL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    END_REASON_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    EVENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    IDLE_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    owner_id: str
    mode: SessionMode
    difficulty: int
    opponent_style: str
    opponent: Opponent
    drill: str
    state: SessionState
    end_reason: str
    score: int
    event_count: int
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    idle_expire_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., owner_id: _Optional[str] = ..., mode: _Optional[_Union[SessionMode, str]] = ..., difficulty: _Optional[int] = ..., opponent_style: _Optional[str] = ..., opponent: _Optional[_Union[Opponent, _Mapping]] = ..., drill: _Optional[str] = ..., state: _Optional[_Union[SessionState, str]] = ..., end_reason: _Optional[str] = ..., score: _Optional[int] = ..., event_count: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., idle_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SessionEvent(_message.Message):
    __slots__ = ("id", "session_id", "sequence", "t_ms", "type", "payload", "late", "create_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    T_MS_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    session_id: str
    sequence: int
    t_ms: int
    type: str
    payload: _struct_pb2.Struct
    late: bool
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., session_id: _Optional[str] = ..., sequence: _Optional[int] = ..., t_ms: _Optional[int] = ..., type: _Optional[str] = ..., payload: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., late: _Optional[bool] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Insight(_message.Message):
    __slots__ = ("rule", "kind", "text", "value", "threshold", "unit", "severity", "evidence_event_ids", "sample_count")
    RULE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_EVENT_IDS_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    rule: str
    kind: InsightKind
    text: str
    value: float
    threshold: float
    unit: str
    severity: float
    evidence_event_ids: _containers.RepeatedScalarFieldContainer[str]
    sample_count: int
    def __init__(self, rule: _Optional[str] = ..., kind: _Optional[_Union[InsightKind, str]] = ..., text: _Optional[str] = ..., value: _Optional[float] = ..., threshold: _Optional[float] = ..., unit: _Optional[str] = ..., severity: _Optional[float] = ..., evidence_event_ids: _Optional[_Iterable[str]] = ..., sample_count: _Optional[int] = ...) -> None: ...

class Drill(_message.Message):
    __slots__ = ("name", "title", "instructions", "rule", "difficulty", "opponent_style", "duration_s")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTIONS_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    DIFFICULTY_FIELD_NUMBER: _ClassVar[int]
    OPPONENT_STYLE_FIELD_NUMBER: _ClassVar[int]
    DURATION_S_FIELD_NUMBER: _ClassVar[int]
    name: str
    title: str
    instructions: str
    rule: str
    difficulty: int
    opponent_style: str
    duration_s: int
    def __init__(self, name: _Optional[str] = ..., title: _Optional[str] = ..., instructions: _Optional[str] = ..., rule: _Optional[str] = ..., difficulty: _Optional[int] = ..., opponent_style: _Optional[str] = ..., duration_s: _Optional[int] = ...) -> None: ...

class Moment(_message.Message):
    __slots__ = ("t_ms", "event_id", "type", "text", "score", "late")
    T_MS_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    t_ms: int
    event_id: str
    type: str
    text: str
    score: int
    late: bool
    def __init__(self, t_ms: _Optional[int] = ..., event_id: _Optional[str] = ..., type: _Optional[str] = ..., text: _Optional[str] = ..., score: _Optional[int] = ..., late: _Optional[bool] = ...) -> None: ...

class SessionSummary(_message.Message):
    __slots__ = ("session_id", "score", "play_time_s", "event_count", "counts", "late_count", "accuracy", "insights", "timeline", "omitted_moment_count", "drills", "rules_version", "create_time")
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    PLAY_TIME_S_FIELD_NUMBER: _ClassVar[int]
    EVENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    LATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    INSIGHTS_FIELD_NUMBER: _ClassVar[int]
    TIMELINE_FIELD_NUMBER: _ClassVar[int]
    OMITTED_MOMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    DRILLS_FIELD_NUMBER: _ClassVar[int]
    RULES_VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    score: int
    play_time_s: float
    event_count: int
    counts: _containers.ScalarMap[str, int]
    late_count: int
    accuracy: float
    insights: _containers.RepeatedCompositeFieldContainer[Insight]
    timeline: _containers.RepeatedCompositeFieldContainer[Moment]
    omitted_moment_count: int
    drills: _containers.RepeatedCompositeFieldContainer[Drill]
    rules_version: int
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, session_id: _Optional[str] = ..., score: _Optional[int] = ..., play_time_s: _Optional[float] = ..., event_count: _Optional[int] = ..., counts: _Optional[_Mapping[str, int]] = ..., late_count: _Optional[int] = ..., accuracy: _Optional[float] = ..., insights: _Optional[_Iterable[_Union[Insight, _Mapping]]] = ..., timeline: _Optional[_Iterable[_Union[Moment, _Mapping]]] = ..., omitted_moment_count: _Optional[int] = ..., drills: _Optional[_Iterable[_Union[Drill, _Mapping]]] = ..., rules_version: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
