from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SeatRequest(_message.Message):
    __slots__ = ("confine", "code", "start", "observe")
    CONFINE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    OBSERVE_FIELD_NUMBER: _ClassVar[int]
    confine: Confine
    code: Code
    start: Start
    observe: Observe
    def __init__(self, confine: _Optional[_Union[Confine, _Mapping]] = ..., code: _Optional[_Union[Code, _Mapping]] = ..., start: _Optional[_Union[Start, _Mapping]] = ..., observe: _Optional[_Union[Observe, _Mapping]] = ...) -> None: ...

class SeatResponse(_message.Message):
    __slots__ = ("ready", "move", "failure")
    READY_FIELD_NUMBER: _ClassVar[int]
    MOVE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    ready: Ready
    move: Move
    failure: Failure
    def __init__(self, ready: _Optional[_Union[Ready, _Mapping]] = ..., move: _Optional[_Union[Move, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class Confine(_message.Message):
    __slots__ = ("seat", "cpu_count", "memory_bytes", "process_count", "cpu_time_s")
    SEAT_FIELD_NUMBER: _ClassVar[int]
    CPU_COUNT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROCESS_COUNT_FIELD_NUMBER: _ClassVar[int]
    CPU_TIME_S_FIELD_NUMBER: _ClassVar[int]
    seat: int
    cpu_count: int
    memory_bytes: int
    process_count: int
    cpu_time_s: int
    def __init__(self, seat: _Optional[int] = ..., cpu_count: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., process_count: _Optional[int] = ..., cpu_time_s: _Optional[int] = ...) -> None: ...

class Code(_message.Message):
    __slots__ = ("chunk",)
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    def __init__(self, chunk: _Optional[bytes] = ...) -> None: ...

class Start(_message.Message):
    __slots__ = ("game", "seat", "seat_count", "seed")
    GAME_FIELD_NUMBER: _ClassVar[int]
    SEAT_FIELD_NUMBER: _ClassVar[int]
    SEAT_COUNT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    game: str
    seat: int
    seat_count: int
    seed: int
    def __init__(self, game: _Optional[str] = ..., seat: _Optional[int] = ..., seat_count: _Optional[int] = ..., seed: _Optional[int] = ...) -> None: ...

class Observe(_message.Message):
    __slots__ = ("step", "observation", "legal_actions", "time_left_ms")
    STEP_FIELD_NUMBER: _ClassVar[int]
    OBSERVATION_FIELD_NUMBER: _ClassVar[int]
    LEGAL_ACTIONS_FIELD_NUMBER: _ClassVar[int]
    TIME_LEFT_MS_FIELD_NUMBER: _ClassVar[int]
    step: int
    observation: Observation
    legal_actions: _containers.RepeatedScalarFieldContainer[int]
    time_left_ms: int
    def __init__(self, step: _Optional[int] = ..., observation: _Optional[_Union[Observation, _Mapping]] = ..., legal_actions: _Optional[_Iterable[int]] = ..., time_left_ms: _Optional[int] = ...) -> None: ...

class Observation(_message.Message):
    __slots__ = ("shape", "values")
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    shape: _containers.RepeatedScalarFieldContainer[int]
    values: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, shape: _Optional[_Iterable[int]] = ..., values: _Optional[_Iterable[int]] = ...) -> None: ...

class Ready(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Move(_message.Message):
    __slots__ = ("step", "action", "resign")
    STEP_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RESIGN_FIELD_NUMBER: _ClassVar[int]
    step: int
    action: int
    resign: bool
    def __init__(self, step: _Optional[int] = ..., action: _Optional[int] = ..., resign: _Optional[bool] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("kind", "message")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Failure.Kind]
        KIND_EXCEPTION: _ClassVar[Failure.Kind]
        KIND_OUT_OF_MEMORY: _ClassVar[Failure.Kind]
        KIND_NO_ACTION: _ClassVar[Failure.Kind]
    KIND_UNSPECIFIED: Failure.Kind
    KIND_EXCEPTION: Failure.Kind
    KIND_OUT_OF_MEMORY: Failure.Kind
    KIND_NO_ACTION: Failure.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    kind: Failure.Kind
    message: str
    def __init__(self, kind: _Optional[_Union[Failure.Kind, str]] = ..., message: _Optional[str] = ...) -> None: ...
