import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MatchState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MATCH_STATE_UNSPECIFIED: _ClassVar[MatchState]
    MATCH_STATE_PENDING: _ClassVar[MatchState]
    MATCH_STATE_RUNNING: _ClassVar[MatchState]
    MATCH_STATE_COMPLETED: _ClassVar[MatchState]
    MATCH_STATE_FAILED: _ClassVar[MatchState]
    MATCH_STATE_CANCELLED: _ClassVar[MatchState]
    MATCH_STATE_VOID: _ClassVar[MatchState]

class MatchFault(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MATCH_FAULT_UNSPECIFIED: _ClassVar[MatchFault]
    MATCH_FAULT_INIT_TIMEOUT: _ClassVar[MatchFault]
    MATCH_FAULT_STEP_TIMEOUT: _ClassVar[MatchFault]
    MATCH_FAULT_MATCH_TIMEOUT: _ClassVar[MatchFault]
    MATCH_FAULT_CRASHED: _ClassVar[MatchFault]
    MATCH_FAULT_OUT_OF_MEMORY: _ClassVar[MatchFault]
    MATCH_FAULT_ILLEGAL_ACTION: _ClassVar[MatchFault]
    MATCH_FAULT_PROTOCOL: _ClassVar[MatchFault]
    MATCH_FAULT_INVALID_CODE: _ClassVar[MatchFault]
MATCH_STATE_UNSPECIFIED: MatchState
MATCH_STATE_PENDING: MatchState
MATCH_STATE_RUNNING: MatchState
MATCH_STATE_COMPLETED: MatchState
MATCH_STATE_FAILED: MatchState
MATCH_STATE_CANCELLED: MatchState
MATCH_STATE_VOID: MatchState
MATCH_FAULT_UNSPECIFIED: MatchFault
MATCH_FAULT_INIT_TIMEOUT: MatchFault
MATCH_FAULT_STEP_TIMEOUT: MatchFault
MATCH_FAULT_MATCH_TIMEOUT: MatchFault
MATCH_FAULT_CRASHED: MatchFault
MATCH_FAULT_OUT_OF_MEMORY: MatchFault
MATCH_FAULT_ILLEGAL_ACTION: MatchFault
MATCH_FAULT_PROTOCOL: MatchFault
MATCH_FAULT_INVALID_CODE: MatchFault

class Match(_message.Message):
    __slots__ = ("id", "game", "environment_version", "seats", "seed", "state", "winner", "steps", "error", "has_replay", "run_id", "owner_id", "time_limit_s", "create_time", "start_time", "finish_time", "update_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    GAME_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    SEATS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    WINNER_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    HAS_REPLAY_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_LIMIT_S_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    FINISH_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    game: str
    environment_version: str
    seats: _containers.RepeatedCompositeFieldContainer[MatchSeat]
    seed: int
    state: MatchState
    winner: int
    steps: int
    error: str
    has_replay: bool
    run_id: str
    owner_id: str
    time_limit_s: int
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    finish_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., game: _Optional[str] = ..., environment_version: _Optional[str] = ..., seats: _Optional[_Iterable[_Union[MatchSeat, _Mapping]]] = ..., seed: _Optional[int] = ..., state: _Optional[_Union[MatchState, str]] = ..., winner: _Optional[int] = ..., steps: _Optional[int] = ..., error: _Optional[str] = ..., has_replay: _Optional[bool] = ..., run_id: _Optional[str] = ..., owner_id: _Optional[str] = ..., time_limit_s: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finish_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class MatchSeat(_message.Message):
    __slots__ = ("agent_id", "builtin", "submission_id", "name", "submission_number", "score", "fault", "message", "time_used_s")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    BUILTIN_FIELD_NUMBER: _ClassVar[int]
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUBMISSION_NUMBER_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TIME_USED_S_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    builtin: str
    submission_id: str
    name: str
    submission_number: int
    score: float
    fault: MatchFault
    message: str
    time_used_s: float
    def __init__(self, agent_id: _Optional[str] = ..., builtin: _Optional[str] = ..., submission_id: _Optional[str] = ..., name: _Optional[str] = ..., submission_number: _Optional[int] = ..., score: _Optional[float] = ..., fault: _Optional[_Union[MatchFault, str]] = ..., message: _Optional[str] = ..., time_used_s: _Optional[float] = ...) -> None: ...
