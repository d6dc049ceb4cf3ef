from elodrome.auth.v1 import rule_pb2 as _rule_pb2
from elodrome.executor.v1 import run_pb2 as _run_pb2
from elodrome.rest.v1 import rest_pb2 as _rest_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StartTrainingRequest(_message.Message):
    __slots__ = ("map_id", "max_iterations", "action_combinations", "params", "model_id", "name", "request_id")
    MAP_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    ACTION_COMBINATIONS_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    map_id: str
    max_iterations: int
    action_combinations: str
    params: _struct_pb2.Struct
    model_id: str
    name: str
    request_id: str
    def __init__(self, map_id: _Optional[str] = ..., max_iterations: _Optional[int] = ..., action_combinations: _Optional[str] = ..., params: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., model_id: _Optional[str] = ..., name: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class StartTrainingResponse(_message.Message):
    __slots__ = ("task_id", "run")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    run: _run_pb2.Run
    def __init__(self, task_id: _Optional[str] = ..., run: _Optional[_Union[_run_pb2.Run, _Mapping]] = ...) -> None: ...

class StopTrainingRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class StopTrainingResponse(_message.Message):
    __slots__ = ("stopped_count", "run_ids")
    STOPPED_COUNT_FIELD_NUMBER: _ClassVar[int]
    RUN_IDS_FIELD_NUMBER: _ClassVar[int]
    stopped_count: int
    run_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, stopped_count: _Optional[int] = ..., run_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class GetTrainingStatusRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class TrainingStatus(_message.Message):
    __slots__ = ("run_id", "state", "current_iteration", "max_iterations", "progress_percent", "elapsed_seconds", "estimated_remaining_seconds", "latest_metrics", "config", "last_error")
    class LatestMetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CURRENT_ITERATION_FIELD_NUMBER: _ClassVar[int]
    MAX_ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_PERCENT_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_REMAINING_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LATEST_METRICS_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    state: _run_pb2.RunState
    current_iteration: int
    max_iterations: int
    progress_percent: float
    elapsed_seconds: float
    estimated_remaining_seconds: float
    latest_metrics: _containers.ScalarMap[str, float]
    config: _struct_pb2.Struct
    last_error: str
    def __init__(self, run_id: _Optional[str] = ..., state: _Optional[_Union[_run_pb2.RunState, str]] = ..., current_iteration: _Optional[int] = ..., max_iterations: _Optional[int] = ..., progress_percent: _Optional[float] = ..., elapsed_seconds: _Optional[float] = ..., estimated_remaining_seconds: _Optional[float] = ..., latest_metrics: _Optional[_Mapping[str, float]] = ..., config: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., last_error: _Optional[str] = ...) -> None: ...

class GetTrainingLogRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class TrainingLog(_message.Message):
    __slots__ = ("run_id", "iterations", "max_loss", "min_loss", "mean_loss", "final_loss")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_LOSS_FIELD_NUMBER: _ClassVar[int]
    MIN_LOSS_FIELD_NUMBER: _ClassVar[int]
    MEAN_LOSS_FIELD_NUMBER: _ClassVar[int]
    FINAL_LOSS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    iterations: _containers.RepeatedCompositeFieldContainer[TrainingLogEntry]
    max_loss: float
    min_loss: float
    mean_loss: float
    final_loss: float
    def __init__(self, run_id: _Optional[str] = ..., iterations: _Optional[_Iterable[_Union[TrainingLogEntry, _Mapping]]] = ..., max_loss: _Optional[float] = ..., min_loss: _Optional[float] = ..., mean_loss: _Optional[float] = ..., final_loss: _Optional[float] = ...) -> None: ...

class TrainingLogEntry(_message.Message):
    __slots__ = ("step", "values")
    class ValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    STEP_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    step: int
    values: _containers.ScalarMap[str, float]
    def __init__(self, step: _Optional[int] = ..., values: _Optional[_Mapping[str, float]] = ...) -> None: ...
