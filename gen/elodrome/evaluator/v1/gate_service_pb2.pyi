from elodrome.auth.v1 import rule_pb2 as _rule_pb2
from elodrome.evaluator.v1 import gate_pb2 as _gate_pb2
from elodrome.rest.v1 import rest_pb2 as _rest_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateGatePolicyRequest(_message.Message):
    __slots__ = ("name", "description", "rules", "confidence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    rules: _containers.RepeatedCompositeFieldContainer[_gate_pb2.GateRule]
    confidence: float
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., rules: _Optional[_Iterable[_Union[_gate_pb2.GateRule, _Mapping]]] = ..., confidence: _Optional[float] = ...) -> None: ...

class GetGatePolicyRequest(_message.Message):
    __slots__ = ("id", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    version: int
    def __init__(self, id: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class ListGatePoliciesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "name")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    name: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class ListGatePoliciesResponse(_message.Message):
    __slots__ = ("items", "next_page_token", "total")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[_gate_pb2.GatePolicy]
    next_page_token: str
    total: int
    def __init__(self, items: _Optional[_Iterable[_Union[_gate_pb2.GatePolicy, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total: _Optional[int] = ...) -> None: ...

class CreateGatePolicyVersionRequest(_message.Message):
    __slots__ = ("id", "rules", "confidence")
    ID_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    id: str
    rules: _containers.RepeatedCompositeFieldContainer[_gate_pb2.GateRule]
    confidence: float
    def __init__(self, id: _Optional[str] = ..., rules: _Optional[_Iterable[_Union[_gate_pb2.GateRule, _Mapping]]] = ..., confidence: _Optional[float] = ...) -> None: ...

class DecideGateRequest(_message.Message):
    __slots__ = ("policy_id", "policy_version", "version_id", "evaluation_id", "random_evaluation_id", "stable_evaluation_id", "request_id")
    POLICY_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSION_ID_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_ID_FIELD_NUMBER: _ClassVar[int]
    RANDOM_EVALUATION_ID_FIELD_NUMBER: _ClassVar[int]
    STABLE_EVALUATION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    policy_id: str
    policy_version: int
    version_id: str
    evaluation_id: str
    random_evaluation_id: str
    stable_evaluation_id: str
    request_id: str
    def __init__(self, policy_id: _Optional[str] = ..., policy_version: _Optional[int] = ..., version_id: _Optional[str] = ..., evaluation_id: _Optional[str] = ..., random_evaluation_id: _Optional[str] = ..., stable_evaluation_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class GetDecisionRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ListDecisionsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "model_id", "version_id")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_ID_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    model_id: str
    version_id: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., model_id: _Optional[str] = ..., version_id: _Optional[str] = ...) -> None: ...

class ListDecisionsResponse(_message.Message):
    __slots__ = ("items", "next_page_token", "total")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[_gate_pb2.GateDecision]
    next_page_token: str
    total: int
    def __init__(self, items: _Optional[_Iterable[_Union[_gate_pb2.GateDecision, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total: _Optional[int] = ...) -> None: ...

class RecomputeDecisionRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class RecomputeDecisionResponse(_message.Message):
    __slots__ = ("equal", "passed", "checks", "differences")
    EQUAL_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    equal: bool
    passed: bool
    checks: _containers.RepeatedCompositeFieldContainer[_gate_pb2.Check]
    differences: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, equal: _Optional[bool] = ..., passed: _Optional[bool] = ..., checks: _Optional[_Iterable[_Union[_gate_pb2.Check, _Mapping]]] = ..., differences: _Optional[_Iterable[str]] = ...) -> None: ...
