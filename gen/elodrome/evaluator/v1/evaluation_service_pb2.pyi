from elodrome.auth.v1 import rule_pb2 as _rule_pb2
from elodrome.evaluator.v1 import evaluation_pb2 as _evaluation_pb2
from elodrome.rest.v1 import rest_pb2 as _rest_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateEvaluationRequest(_message.Message):
    __slots__ = ("suite_id", "suite_version", "checkpoint_id", "agent", "request_id", "fresh", "time_limit_s")
    SUITE_ID_FIELD_NUMBER: _ClassVar[int]
    SUITE_VERSION_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    FRESH_FIELD_NUMBER: _ClassVar[int]
    TIME_LIMIT_S_FIELD_NUMBER: _ClassVar[int]
    suite_id: str
    suite_version: int
    checkpoint_id: str
    agent: str
    request_id: str
    fresh: bool
    time_limit_s: int
    def __init__(self, suite_id: _Optional[str] = ..., suite_version: _Optional[int] = ..., checkpoint_id: _Optional[str] = ..., agent: _Optional[str] = ..., request_id: _Optional[str] = ..., fresh: _Optional[bool] = ..., time_limit_s: _Optional[int] = ...) -> None: ...

class GetEvaluationRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ListEvaluationsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "suite_id", "checkpoint_id", "agent", "state")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SUITE_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    suite_id: str
    checkpoint_id: str
    agent: str
    state: _evaluation_pb2.EvaluationState
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., suite_id: _Optional[str] = ..., checkpoint_id: _Optional[str] = ..., agent: _Optional[str] = ..., state: _Optional[_Union[_evaluation_pb2.EvaluationState, str]] = ...) -> None: ...

class ListEvaluationsResponse(_message.Message):
    __slots__ = ("items", "next_page_token", "total")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[_evaluation_pb2.Evaluation]
    next_page_token: str
    total: int
    def __init__(self, items: _Optional[_Iterable[_Union[_evaluation_pb2.Evaluation, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total: _Optional[int] = ...) -> None: ...

class CancelEvaluationRequest(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RerunEvaluationRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class WatchEvaluationRequest(_message.Message):
    __slots__ = ("id", "cursor")
    ID_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    id: str
    cursor: str
    def __init__(self, id: _Optional[str] = ..., cursor: _Optional[str] = ...) -> None: ...

class WatchEvaluationResponse(_message.Message):
    __slots__ = ("cursor", "progress", "done")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    progress: EvaluationProgress
    done: EvaluationDone
    def __init__(self, cursor: _Optional[str] = ..., progress: _Optional[_Union[EvaluationProgress, _Mapping]] = ..., done: _Optional[_Union[EvaluationDone, _Mapping]] = ...) -> None: ...

class EvaluationProgress(_message.Message):
    __slots__ = ("state", "percent", "episodes_done", "episodes_total", "estimated_remaining_s")
    STATE_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    EPISODES_DONE_FIELD_NUMBER: _ClassVar[int]
    EPISODES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_REMAINING_S_FIELD_NUMBER: _ClassVar[int]
    state: _evaluation_pb2.EvaluationState
    percent: int
    episodes_done: int
    episodes_total: int
    estimated_remaining_s: float
    def __init__(self, state: _Optional[_Union[_evaluation_pb2.EvaluationState, str]] = ..., percent: _Optional[int] = ..., episodes_done: _Optional[int] = ..., episodes_total: _Optional[int] = ..., estimated_remaining_s: _Optional[float] = ...) -> None: ...

class EvaluationDone(_message.Message):
    __slots__ = ("evaluation",)
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    evaluation: _evaluation_pb2.Evaluation
    def __init__(self, evaluation: _Optional[_Union[_evaluation_pb2.Evaluation, _Mapping]] = ...) -> None: ...

class ListEpisodesRequest(_message.Message):
    __slots__ = ("evaluation_id", "page_size", "page_token", "scenario")
    EVALUATION_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SCENARIO_FIELD_NUMBER: _ClassVar[int]
    evaluation_id: str
    page_size: int
    page_token: str
    scenario: str
    def __init__(self, evaluation_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., scenario: _Optional[str] = ...) -> None: ...

class ListEpisodesResponse(_message.Message):
    __slots__ = ("items", "next_page_token", "total")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[_evaluation_pb2.Episode]
    next_page_token: str
    total: int
    def __init__(self, items: _Optional[_Iterable[_Union[_evaluation_pb2.Episode, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total: _Optional[int] = ...) -> None: ...

class CompareEvaluationsRequest(_message.Message):
    __slots__ = ("base_evaluation_id", "candidate_evaluation_id", "base_checkpoint_id", "candidate_checkpoint_id", "suite_id", "confidence")
    BASE_EVALUATION_ID_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_EVALUATION_ID_FIELD_NUMBER: _ClassVar[int]
    BASE_CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    SUITE_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    base_evaluation_id: str
    candidate_evaluation_id: str
    base_checkpoint_id: str
    candidate_checkpoint_id: str
    suite_id: str
    confidence: float
    def __init__(self, base_evaluation_id: _Optional[str] = ..., candidate_evaluation_id: _Optional[str] = ..., base_checkpoint_id: _Optional[str] = ..., candidate_checkpoint_id: _Optional[str] = ..., suite_id: _Optional[str] = ..., confidence: _Optional[float] = ...) -> None: ...

class CompareEvaluationsResponse(_message.Message):
    __slots__ = ("base", "candidate", "metrics", "warnings", "bootstrap_seed")
    BASE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_SEED_FIELD_NUMBER: _ClassVar[int]
    base: _evaluation_pb2.Evaluation
    candidate: _evaluation_pb2.Evaluation
    metrics: _containers.RepeatedCompositeFieldContainer[_evaluation_pb2.MetricComparison]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    bootstrap_seed: int
    def __init__(self, base: _Optional[_Union[_evaluation_pb2.Evaluation, _Mapping]] = ..., candidate: _Optional[_Union[_evaluation_pb2.Evaluation, _Mapping]] = ..., metrics: _Optional[_Iterable[_Union[_evaluation_pb2.MetricComparison, _Mapping]]] = ..., warnings: _Optional[_Iterable[str]] = ..., bootstrap_seed: _Optional[int] = ...) -> None: ...
