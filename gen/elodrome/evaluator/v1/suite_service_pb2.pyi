from elodrome.auth.v1 import rule_pb2 as _rule_pb2
from elodrome.evaluator.v1 import suite_pb2 as _suite_pb2
from elodrome.rest.v1 import rest_pb2 as _rest_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateSuiteRequest(_message.Message):
    __slots__ = ("name", "description", "scenarios", "seeds", "metrics", "auto_evaluate")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SCENARIOS_FIELD_NUMBER: _ClassVar[int]
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    AUTO_EVALUATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    scenarios: _containers.RepeatedCompositeFieldContainer[_suite_pb2.SuiteScenario]
    seeds: _containers.RepeatedScalarFieldContainer[int]
    metrics: _containers.RepeatedCompositeFieldContainer[_suite_pb2.SuiteMetric]
    auto_evaluate: _suite_pb2.AutoEvaluateRule
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., scenarios: _Optional[_Iterable[_Union[_suite_pb2.SuiteScenario, _Mapping]]] = ..., seeds: _Optional[_Iterable[int]] = ..., metrics: _Optional[_Iterable[_Union[_suite_pb2.SuiteMetric, _Mapping]]] = ..., auto_evaluate: _Optional[_Union[_suite_pb2.AutoEvaluateRule, _Mapping]] = ...) -> None: ...

class GetSuiteRequest(_message.Message):
    __slots__ = ("id", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    version: int
    def __init__(self, id: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class ListSuitesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "name")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    name: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class ListSuitesResponse(_message.Message):
    __slots__ = ("items", "next_page_token", "total")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[_suite_pb2.Suite]
    next_page_token: str
    total: int
    def __init__(self, items: _Optional[_Iterable[_Union[_suite_pb2.Suite, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total: _Optional[int] = ...) -> None: ...

class UpdateSuiteRequest(_message.Message):
    __slots__ = ("id", "description", "auto_evaluate")
    ID_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    AUTO_EVALUATE_FIELD_NUMBER: _ClassVar[int]
    id: str
    description: str
    auto_evaluate: _suite_pb2.AutoEvaluateRule
    def __init__(self, id: _Optional[str] = ..., description: _Optional[str] = ..., auto_evaluate: _Optional[_Union[_suite_pb2.AutoEvaluateRule, _Mapping]] = ...) -> None: ...

class CreateSuiteVersionRequest(_message.Message):
    __slots__ = ("suite_id", "scenarios", "seeds", "metrics")
    SUITE_ID_FIELD_NUMBER: _ClassVar[int]
    SCENARIOS_FIELD_NUMBER: _ClassVar[int]
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    suite_id: str
    scenarios: _containers.RepeatedCompositeFieldContainer[_suite_pb2.SuiteScenario]
    seeds: _containers.RepeatedScalarFieldContainer[int]
    metrics: _containers.RepeatedCompositeFieldContainer[_suite_pb2.SuiteMetric]
    def __init__(self, suite_id: _Optional[str] = ..., scenarios: _Optional[_Iterable[_Union[_suite_pb2.SuiteScenario, _Mapping]]] = ..., seeds: _Optional[_Iterable[int]] = ..., metrics: _Optional[_Iterable[_Union[_suite_pb2.SuiteMetric, _Mapping]]] = ...) -> None: ...

class ListSuiteVersionsRequest(_message.Message):
    __slots__ = ("suite_id", "page_size", "page_token")
    SUITE_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    suite_id: str
    page_size: int
    page_token: str
    def __init__(self, suite_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSuiteVersionsResponse(_message.Message):
    __slots__ = ("items", "next_page_token", "total")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[_suite_pb2.SuiteVersion]
    next_page_token: str
    total: int
    def __init__(self, items: _Optional[_Iterable[_Union[_suite_pb2.SuiteVersion, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total: _Optional[int] = ...) -> None: ...
