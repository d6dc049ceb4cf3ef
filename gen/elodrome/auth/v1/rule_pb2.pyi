from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_ANONYMOUS: _ClassVar[Role]
    ROLE_ADMIN: _ClassVar[Role]
    ROLE_OPERATOR: _ClassVar[Role]
    ROLE_USER: _ClassVar[Role]
    ROLE_VIEWER: _ClassVar[Role]
    ROLE_PLAYER: _ClassVar[Role]
    ROLE_WORKER: _ClassVar[Role]
    ROLE_SERVICE: _ClassVar[Role]

class Scope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCOPE_UNSPECIFIED: _ClassVar[Scope]
    SCOPE_READ: _ClassVar[Scope]
    SCOPE_TRAIN: _ClassVar[Scope]
    SCOPE_SUBMIT: _ClassVar[Scope]
    SCOPE_PLAY: _ClassVar[Scope]
    SCOPE_ADMIN: _ClassVar[Scope]
ROLE_UNSPECIFIED: Role
ROLE_ANONYMOUS: Role
ROLE_ADMIN: Role
ROLE_OPERATOR: Role
ROLE_USER: Role
ROLE_VIEWER: Role
ROLE_PLAYER: Role
ROLE_WORKER: Role
ROLE_SERVICE: Role
SCOPE_UNSPECIFIED: Scope
SCOPE_READ: Scope
SCOPE_TRAIN: Scope
SCOPE_SUBMIT: Scope
SCOPE_PLAY: Scope
SCOPE_ADMIN: Scope
RULE_FIELD_NUMBER: _ClassVar[int]
rule: _descriptor.FieldDescriptor

class Rule(_message.Message):
    __slots__ = ("allow", "scope")
    ALLOW_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    allow: _containers.RepeatedScalarFieldContainer[Role]
    scope: Scope
    def __init__(self, allow: _Optional[_Iterable[_Union[Role, str]]] = ..., scope: _Optional[_Union[Scope, str]] = ...) -> None: ...
