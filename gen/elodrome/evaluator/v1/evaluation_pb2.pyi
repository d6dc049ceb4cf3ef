import datetime

from elodrome.evaluator.v1 import suite_pb2 as _suite_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EvaluationState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVALUATION_STATE_UNSPECIFIED: _ClassVar[EvaluationState]
    EVALUATION_STATE_PENDING: _ClassVar[EvaluationState]
    EVALUATION_STATE_RUNNING: _ClassVar[EvaluationState]
    EVALUATION_STATE_COMPLETED: _ClassVar[EvaluationState]
    EVALUATION_STATE_FAILED: _ClassVar[EvaluationState]
    EVALUATION_STATE_CANCELLED: _ClassVar[EvaluationState]

class EvaluationTrigger(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVALUATION_TRIGGER_UNSPECIFIED: _ClassVar[EvaluationTrigger]
    EVALUATION_TRIGGER_REQUEST: _ClassVar[EvaluationTrigger]
    EVALUATION_TRIGGER_CHECKPOINT: _ClassVar[EvaluationTrigger]
    EVALUATION_TRIGGER_RERUN: _ClassVar[EvaluationTrigger]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_BETTER: _ClassVar[Verdict]
    VERDICT_WORSE: _ClassVar[Verdict]
    VERDICT_INCONCLUSIVE: _ClassVar[Verdict]
EVALUATION_STATE_UNSPECIFIED: EvaluationState
EVALUATION_STATE_PENDING: EvaluationState
EVALUATION_STATE_RUNNING: EvaluationState
EVALUATION_STATE_COMPLETED: EvaluationState
EVALUATION_STATE_FAILED: EvaluationState
EVALUATION_STATE_CANCELLED: EvaluationState
EVALUATION_TRIGGER_UNSPECIFIED: EvaluationTrigger
EVALUATION_TRIGGER_REQUEST: EvaluationTrigger
EVALUATION_TRIGGER_CHECKPOINT: EvaluationTrigger
EVALUATION_TRIGGER_RERUN: EvaluationTrigger
VERDICT_UNSPECIFIED: Verdict
VERDICT_BETTER: Verdict
VERDICT_WORSE: Verdict
VERDICT_INCONCLUSIVE: Verdict

class Evaluation(_message.Message):
    __slots__ = ("id", "suite_id", "suite_name", "suite_version", "suite_version_id", "checkpoint_id", "agent", "checkpoint_sha256", "state", "percent", "episodes_done", "episodes_total", "estimated_remaining_s", "metrics", "scenarios", "bootstrap_seed", "cached", "source_evaluation_id", "rerun_of_id", "trigger", "run_id", "owner_id", "error", "environment_version", "time_limit_s", "create_time", "start_time", "finish_time", "update_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    SUITE_ID_FIELD_NUMBER: _ClassVar[int]
    SUITE_NAME_FIELD_NUMBER: _ClassVar[int]
    SUITE_VERSION_FIELD_NUMBER: _ClassVar[int]
    SUITE_VERSION_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_SHA256_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    EPISODES_DONE_FIELD_NUMBER: _ClassVar[int]
    EPISODES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_REMAINING_S_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    SCENARIOS_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_SEED_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    SOURCE_EVALUATION_ID_FIELD_NUMBER: _ClassVar[int]
    RERUN_OF_ID_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    TIME_LIMIT_S_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    FINISH_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    suite_id: str
    suite_name: str
    suite_version: int
    suite_version_id: str
    checkpoint_id: str
    agent: str
    checkpoint_sha256: str
    state: EvaluationState
    percent: int
    episodes_done: int
    episodes_total: int
    estimated_remaining_s: float
    metrics: _containers.RepeatedCompositeFieldContainer[MetricEstimate]
    scenarios: _containers.RepeatedCompositeFieldContainer[ScenarioResult]
    bootstrap_seed: int
    cached: bool
    source_evaluation_id: str
    rerun_of_id: str
    trigger: EvaluationTrigger
    run_id: str
    owner_id: str
    error: str
    environment_version: str
    time_limit_s: int
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    finish_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., suite_id: _Optional[str] = ..., suite_name: _Optional[str] = ..., suite_version: _Optional[int] = ..., suite_version_id: _Optional[str] = ..., checkpoint_id: _Optional[str] = ..., agent: _Optional[str] = ..., checkpoint_sha256: _Optional[str] = ..., state: _Optional[_Union[EvaluationState, str]] = ..., percent: _Optional[int] = ..., episodes_done: _Optional[int] = ..., episodes_total: _Optional[int] = ..., estimated_remaining_s: _Optional[float] = ..., metrics: _Optional[_Iterable[_Union[MetricEstimate, _Mapping]]] = ..., scenarios: _Optional[_Iterable[_Union[ScenarioResult, _Mapping]]] = ..., bootstrap_seed: _Optional[int] = ..., cached: _Optional[bool] = ..., source_evaluation_id: _Optional[str] = ..., rerun_of_id: _Optional[str] = ..., trigger: _Optional[_Union[EvaluationTrigger, str]] = ..., run_id: _Optional[str] = ..., owner_id: _Optional[str] = ..., error: _Optional[str] = ..., environment_version: _Optional[str] = ..., time_limit_s: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finish_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class MetricEstimate(_message.Message):
    __slots__ = ("metric", "mean", "lower", "upper", "confidence", "method", "standard_deviation", "minimum", "maximum", "episode_count")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    STANDARD_DEVIATION_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    EPISODE_COUNT_FIELD_NUMBER: _ClassVar[int]
    metric: str
    mean: float
    lower: float
    upper: float
    confidence: float
    method: str
    standard_deviation: float
    minimum: float
    maximum: float
    episode_count: int
    def __init__(self, metric: _Optional[str] = ..., mean: _Optional[float] = ..., lower: _Optional[float] = ..., upper: _Optional[float] = ..., confidence: _Optional[float] = ..., method: _Optional[str] = ..., standard_deviation: _Optional[float] = ..., minimum: _Optional[float] = ..., maximum: _Optional[float] = ..., episode_count: _Optional[int] = ...) -> None: ...

class ScenarioResult(_message.Message):
    __slots__ = ("scenario", "metrics", "seeds")
    SCENARIO_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    scenario: str
    metrics: _containers.RepeatedCompositeFieldContainer[MetricEstimate]
    seeds: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, scenario: _Optional[str] = ..., metrics: _Optional[_Iterable[_Union[MetricEstimate, _Mapping]]] = ..., seeds: _Optional[_Iterable[int]] = ...) -> None: ...

class Episode(_message.Message):
    __slots__ = ("evaluation_id", "scenario", "seed", "metrics", "duration_s", "create_time")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    EVALUATION_ID_FIELD_NUMBER: _ClassVar[int]
    SCENARIO_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    DURATION_S_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    evaluation_id: str
    scenario: str
    seed: int
    metrics: _containers.ScalarMap[str, float]
    duration_s: float
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, evaluation_id: _Optional[str] = ..., scenario: _Optional[str] = ..., seed: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ..., duration_s: _Optional[float] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class MetricComparison(_message.Message):
    __slots__ = ("metric", "goal", "base", "candidate", "delta", "lower", "upper", "confidence", "method", "paired", "sample_count", "p_value", "test", "effect_size", "effect_size_name", "verdict")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    GOAL_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PAIRED_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_FIELD_NUMBER: _ClassVar[int]
    TEST_FIELD_NUMBER: _ClassVar[int]
    EFFECT_SIZE_FIELD_NUMBER: _ClassVar[int]
    EFFECT_SIZE_NAME_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    metric: str
    goal: _suite_pb2.MetricGoal
    base: MetricEstimate
    candidate: MetricEstimate
    delta: float
    lower: float
    upper: float
    confidence: float
    method: str
    paired: bool
    sample_count: int
    p_value: float
    test: str
    effect_size: float
    effect_size_name: str
    verdict: Verdict
    def __init__(self, metric: _Optional[str] = ..., goal: _Optional[_Union[_suite_pb2.MetricGoal, str]] = ..., base: _Optional[_Union[MetricEstimate, _Mapping]] = ..., candidate: _Optional[_Union[MetricEstimate, _Mapping]] = ..., delta: _Optional[float] = ..., lower: _Optional[float] = ..., upper: _Optional[float] = ..., confidence: _Optional[float] = ..., method: _Optional[str] = ..., paired: _Optional[bool] = ..., sample_count: _Optional[int] = ..., p_value: _Optional[float] = ..., test: _Optional[str] = ..., effect_size: _Optional[float] = ..., effect_size_name: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ...) -> None: ...
