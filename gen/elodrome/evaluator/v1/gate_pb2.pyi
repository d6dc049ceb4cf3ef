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

class Baseline(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BASELINE_UNSPECIFIED: _ClassVar[Baseline]
    BASELINE_RANDOM: _ClassVar[Baseline]
    BASELINE_STABLE: _ClassVar[Baseline]

class CheckState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHECK_STATE_UNSPECIFIED: _ClassVar[CheckState]
    CHECK_STATE_PASSED: _ClassVar[CheckState]
    CHECK_STATE_FAILED: _ClassVar[CheckState]
    CHECK_STATE_NOT_APPLICABLE: _ClassVar[CheckState]
BASELINE_UNSPECIFIED: Baseline
BASELINE_RANDOM: Baseline
BASELINE_STABLE: Baseline
CHECK_STATE_UNSPECIFIED: CheckState
CHECK_STATE_PASSED: CheckState
CHECK_STATE_FAILED: CheckState
CHECK_STATE_NOT_APPLICABLE: CheckState

class GatePolicy(_message.Message):
    __slots__ = ("id", "name", "description", "version", "newest_version", "rules", "confidence", "owner_id", "create_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NEWEST_VERSION_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    OWNER_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    description: str
    version: int
    newest_version: int
    rules: _containers.RepeatedCompositeFieldContainer[GateRule]
    confidence: float
    owner_id: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., version: _Optional[int] = ..., newest_version: _Optional[int] = ..., rules: _Optional[_Iterable[_Union[GateRule, _Mapping]]] = ..., confidence: _Optional[float] = ..., owner_id: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GateRule(_message.Message):
    __slots__ = ("name", "metric", "optional", "min_mean", "better_than", "not_worse_than", "scenario_floor", "min_episodes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    MIN_MEAN_FIELD_NUMBER: _ClassVar[int]
    BETTER_THAN_FIELD_NUMBER: _ClassVar[int]
    NOT_WORSE_THAN_FIELD_NUMBER: _ClassVar[int]
    SCENARIO_FLOOR_FIELD_NUMBER: _ClassVar[int]
    MIN_EPISODES_FIELD_NUMBER: _ClassVar[int]
    name: str
    metric: str
    optional: bool
    min_mean: MinMean
    better_than: BetterThan
    not_worse_than: NotWorseThan
    scenario_floor: ScenarioFloor
    min_episodes: MinEpisodes
    def __init__(self, name: _Optional[str] = ..., metric: _Optional[str] = ..., optional: _Optional[bool] = ..., min_mean: _Optional[_Union[MinMean, _Mapping]] = ..., better_than: _Optional[_Union[BetterThan, _Mapping]] = ..., not_worse_than: _Optional[_Union[NotWorseThan, _Mapping]] = ..., scenario_floor: _Optional[_Union[ScenarioFloor, _Mapping]] = ..., min_episodes: _Optional[_Union[MinEpisodes, _Mapping]] = ...) -> None: ...

class MinMean(_message.Message):
    __slots__ = ("threshold", "with_confidence")
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    WITH_CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    threshold: float
    with_confidence: bool
    def __init__(self, threshold: _Optional[float] = ..., with_confidence: _Optional[bool] = ...) -> None: ...

class BetterThan(_message.Message):
    __slots__ = ("baseline", "margin")
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    baseline: Baseline
    margin: float
    def __init__(self, baseline: _Optional[_Union[Baseline, str]] = ..., margin: _Optional[float] = ...) -> None: ...

class NotWorseThan(_message.Message):
    __slots__ = ("baseline", "tolerance")
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    baseline: Baseline
    tolerance: float
    def __init__(self, baseline: _Optional[_Union[Baseline, str]] = ..., tolerance: _Optional[float] = ...) -> None: ...

class ScenarioFloor(_message.Message):
    __slots__ = ("threshold",)
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    threshold: float
    def __init__(self, threshold: _Optional[float] = ...) -> None: ...

class MinEpisodes(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: int
    def __init__(self, count: _Optional[int] = ...) -> None: ...

class Check(_message.Message):
    __slots__ = ("rule", "kind", "optional", "state", "value", "threshold", "lower", "upper", "p_value", "method", "message")
    RULE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    rule: str
    kind: str
    optional: bool
    state: CheckState
    value: float
    threshold: float
    lower: float
    upper: float
    p_value: float
    method: str
    message: str
    def __init__(self, rule: _Optional[str] = ..., kind: _Optional[str] = ..., optional: _Optional[bool] = ..., state: _Optional[_Union[CheckState, str]] = ..., value: _Optional[float] = ..., threshold: _Optional[float] = ..., lower: _Optional[float] = ..., upper: _Optional[float] = ..., p_value: _Optional[float] = ..., method: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class GateDecision(_message.Message):
    __slots__ = ("id", "passed", "model_id", "version_id", "checkpoint_id", "checkpoint_sha256", "checks", "record", "record_sha256", "owner_id", "create_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_SHA256_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    RECORD_SHA256_FIELD_NUMBER: _ClassVar[int]
    OWNER_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    passed: bool
    model_id: str
    version_id: str
    checkpoint_id: str
    checkpoint_sha256: str
    checks: _containers.RepeatedCompositeFieldContainer[Check]
    record: DecisionRecord
    record_sha256: str
    owner_id: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., passed: _Optional[bool] = ..., model_id: _Optional[str] = ..., version_id: _Optional[str] = ..., checkpoint_id: _Optional[str] = ..., checkpoint_sha256: _Optional[str] = ..., checks: _Optional[_Iterable[_Union[Check, _Mapping]]] = ..., record: _Optional[_Union[DecisionRecord, _Mapping]] = ..., record_sha256: _Optional[str] = ..., owner_id: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DecisionRecord(_message.Message):
    __slots__ = ("policy_id", "policy_name", "policy_version", "rules", "confidence", "suite_version_id", "suite_name", "suite_version", "metrics", "bootstrap_seed", "resample_count", "method", "candidate", "random", "stable")
    POLICY_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_NAME_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    SUITE_VERSION_ID_FIELD_NUMBER: _ClassVar[int]
    SUITE_NAME_FIELD_NUMBER: _ClassVar[int]
    SUITE_VERSION_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_SEED_FIELD_NUMBER: _ClassVar[int]
    RESAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    RANDOM_FIELD_NUMBER: _ClassVar[int]
    STABLE_FIELD_NUMBER: _ClassVar[int]
    policy_id: str
    policy_name: str
    policy_version: int
    rules: _containers.RepeatedCompositeFieldContainer[GateRule]
    confidence: float
    suite_version_id: str
    suite_name: str
    suite_version: int
    metrics: _containers.RepeatedCompositeFieldContainer[_suite_pb2.SuiteMetric]
    bootstrap_seed: int
    resample_count: int
    method: str
    candidate: DecisionInput
    random: DecisionInput
    stable: DecisionInput
    def __init__(self, policy_id: _Optional[str] = ..., policy_name: _Optional[str] = ..., policy_version: _Optional[int] = ..., rules: _Optional[_Iterable[_Union[GateRule, _Mapping]]] = ..., confidence: _Optional[float] = ..., suite_version_id: _Optional[str] = ..., suite_name: _Optional[str] = ..., suite_version: _Optional[int] = ..., metrics: _Optional[_Iterable[_Union[_suite_pb2.SuiteMetric, _Mapping]]] = ..., bootstrap_seed: _Optional[int] = ..., resample_count: _Optional[int] = ..., method: _Optional[str] = ..., candidate: _Optional[_Union[DecisionInput, _Mapping]] = ..., random: _Optional[_Union[DecisionInput, _Mapping]] = ..., stable: _Optional[_Union[DecisionInput, _Mapping]] = ...) -> None: ...

class DecisionInput(_message.Message):
    __slots__ = ("evaluation_id", "checkpoint_id", "checkpoint_sha256", "agent", "episodes")
    EVALUATION_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_SHA256_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    EPISODES_FIELD_NUMBER: _ClassVar[int]
    evaluation_id: str
    checkpoint_id: str
    checkpoint_sha256: str
    agent: str
    episodes: _containers.RepeatedCompositeFieldContainer[EpisodeInput]
    def __init__(self, evaluation_id: _Optional[str] = ..., checkpoint_id: _Optional[str] = ..., checkpoint_sha256: _Optional[str] = ..., agent: _Optional[str] = ..., episodes: _Optional[_Iterable[_Union[EpisodeInput, _Mapping]]] = ...) -> None: ...

class EpisodeInput(_message.Message):
    __slots__ = ("scenario", "seed", "values")
    SCENARIO_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    scenario: str
    seed: int
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, scenario: _Optional[str] = ..., seed: _Optional[int] = ..., values: _Optional[_Iterable[float]] = ...) -> None: ...
