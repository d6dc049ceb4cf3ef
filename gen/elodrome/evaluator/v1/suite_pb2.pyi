import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MetricGoal(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    METRIC_GOAL_UNSPECIFIED: _ClassVar[MetricGoal]
    METRIC_GOAL_MAXIMIZE: _ClassVar[MetricGoal]
    METRIC_GOAL_MINIMIZE: _ClassVar[MetricGoal]
METRIC_GOAL_UNSPECIFIED: MetricGoal
METRIC_GOAL_MAXIMIZE: MetricGoal
METRIC_GOAL_MINIMIZE: MetricGoal

class Suite(_message.Message):
    __slots__ = ("id", "name", "description", "owner_id", "version", "newest_version", "auto_evaluate", "create_time", "update_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    OWNER_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NEWEST_VERSION_FIELD_NUMBER: _ClassVar[int]
    AUTO_EVALUATE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    description: str
    owner_id: str
    version: SuiteVersion
    newest_version: int
    auto_evaluate: AutoEvaluateRule
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., owner_id: _Optional[str] = ..., version: _Optional[_Union[SuiteVersion, _Mapping]] = ..., newest_version: _Optional[int] = ..., auto_evaluate: _Optional[_Union[AutoEvaluateRule, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SuiteVersion(_message.Message):
    __slots__ = ("id", "suite_id", "number", "scenarios", "metrics", "episode_count", "sha256", "creator_id", "create_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    SUITE_ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SCENARIOS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    EPISODE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    CREATOR_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    suite_id: str
    number: int
    scenarios: _containers.RepeatedCompositeFieldContainer[SuiteScenario]
    metrics: _containers.RepeatedCompositeFieldContainer[SuiteMetric]
    episode_count: int
    sha256: str
    creator_id: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., suite_id: _Optional[str] = ..., number: _Optional[int] = ..., scenarios: _Optional[_Iterable[_Union[SuiteScenario, _Mapping]]] = ..., metrics: _Optional[_Iterable[_Union[SuiteMetric, _Mapping]]] = ..., episode_count: _Optional[int] = ..., sha256: _Optional[str] = ..., creator_id: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SuiteScenario(_message.Message):
    __slots__ = ("game", "scenario", "seeds", "frame_skip", "action_combinations", "map_id")
    GAME_FIELD_NUMBER: _ClassVar[int]
    SCENARIO_FIELD_NUMBER: _ClassVar[int]
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    FRAME_SKIP_FIELD_NUMBER: _ClassVar[int]
    ACTION_COMBINATIONS_FIELD_NUMBER: _ClassVar[int]
    MAP_ID_FIELD_NUMBER: _ClassVar[int]
    game: str
    scenario: str
    seeds: _containers.RepeatedScalarFieldContainer[int]
    frame_skip: int
    action_combinations: str
    map_id: str
    def __init__(self, game: _Optional[str] = ..., scenario: _Optional[str] = ..., seeds: _Optional[_Iterable[int]] = ..., frame_skip: _Optional[int] = ..., action_combinations: _Optional[str] = ..., map_id: _Optional[str] = ...) -> None: ...

class SuiteMetric(_message.Message):
    __slots__ = ("name", "goal")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GOAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    goal: MetricGoal
    def __init__(self, name: _Optional[str] = ..., goal: _Optional[_Union[MetricGoal, str]] = ...) -> None: ...

class AutoEvaluateRule(_message.Message):
    __slots__ = ("every", "best", "published", "everyone")
    EVERY_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    EVERYONE_FIELD_NUMBER: _ClassVar[int]
    every: int
    best: bool
    published: bool
    everyone: bool
    def __init__(self, every: _Optional[int] = ..., best: _Optional[bool] = ..., published: _Optional[bool] = ..., everyone: _Optional[bool] = ...) -> None: ...
