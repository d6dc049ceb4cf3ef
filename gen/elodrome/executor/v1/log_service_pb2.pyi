from elodrome.auth.v1 import rule_pb2 as _rule_pb2
from elodrome.executor.v1 import run_pb2 as _run_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListLogLinesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "run_id", "attempt", "tail")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    run_id: str
    attempt: int
    tail: bool
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., run_id: _Optional[str] = ..., attempt: _Optional[int] = ..., tail: _Optional[bool] = ...) -> None: ...

class ListLogLinesResponse(_message.Message):
    __slots__ = ("items", "next_page_token", "total")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[_run_pb2.LogLine]
    next_page_token: str
    total: int
    def __init__(self, items: _Optional[_Iterable[_Union[_run_pb2.LogLine, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total: _Optional[int] = ...) -> None: ...

class WatchLogsRequest(_message.Message):
    __slots__ = ("run_id", "cursor")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    cursor: str
    def __init__(self, run_id: _Optional[str] = ..., cursor: _Optional[str] = ...) -> None: ...

class WatchLogsResponse(_message.Message):
    __slots__ = ("cursor", "line", "done")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    line: _run_pb2.LogLine
    done: LogDone
    def __init__(self, cursor: _Optional[str] = ..., line: _Optional[_Union[_run_pb2.LogLine, _Mapping]] = ..., done: _Optional[_Union[LogDone, _Mapping]] = ...) -> None: ...

class LogDone(_message.Message):
    __slots__ = ("line_count",)
    LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    line_count: int
    def __init__(self, line_count: _Optional[int] = ...) -> None: ...
