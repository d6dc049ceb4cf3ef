from elodrome.auth.v1 import rule_pb2 as _rule_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UserRegistered(_message.Message):
    __slots__ = ("user_id", "username", "role")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    username: str
    role: _rule_pb2.Role
    def __init__(self, user_id: _Optional[str] = ..., username: _Optional[str] = ..., role: _Optional[_Union[_rule_pb2.Role, str]] = ...) -> None: ...

class UserDeactivated(_message.Message):
    __slots__ = ("user_id", "actor_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    actor_id: str
    def __init__(self, user_id: _Optional[str] = ..., actor_id: _Optional[str] = ...) -> None: ...
