from elodrome.auth.v1 import rule_pb2 as _rule_pb2
from elodrome.evaluator.v1 import evaluation_pb2 as _evaluation_pb2
from elodrome.evaluator.v1 import match_pb2 as _match_pb2
from elodrome.evaluator.v1 import suite_pb2 as _suite_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClaimEvaluationRequest(_message.Message):
    __slots__ = ("evaluation_id", "environment_version")
    EVALUATION_ID_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    evaluation_id: str
    environment_version: str
    def __init__(self, evaluation_id: _Optional[str] = ..., environment_version: _Optional[str] = ...) -> None: ...

class ClaimEvaluationResponse(_message.Message):
    __slots__ = ("checkpoint_id", "agent", "checkpoint_sha256", "scenarios", "metrics", "recorded")
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_SHA256_FIELD_NUMBER: _ClassVar[int]
    SCENARIOS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    RECORDED_FIELD_NUMBER: _ClassVar[int]
    checkpoint_id: str
    agent: str
    checkpoint_sha256: str
    scenarios: _containers.RepeatedCompositeFieldContainer[_suite_pb2.SuiteScenario]
    metrics: _containers.RepeatedScalarFieldContainer[str]
    recorded: _containers.RepeatedCompositeFieldContainer[EpisodeKey]
    def __init__(self, checkpoint_id: _Optional[str] = ..., agent: _Optional[str] = ..., checkpoint_sha256: _Optional[str] = ..., scenarios: _Optional[_Iterable[_Union[_suite_pb2.SuiteScenario, _Mapping]]] = ..., metrics: _Optional[_Iterable[str]] = ..., recorded: _Optional[_Iterable[_Union[EpisodeKey, _Mapping]]] = ...) -> None: ...

class EpisodeKey(_message.Message):
    __slots__ = ("scenario", "seed")
    SCENARIO_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    scenario: str
    seed: int
    def __init__(self, scenario: _Optional[str] = ..., seed: _Optional[int] = ...) -> None: ...

class RecordEpisodesRequest(_message.Message):
    __slots__ = ("evaluation_id", "episodes")
    EVALUATION_ID_FIELD_NUMBER: _ClassVar[int]
    EPISODES_FIELD_NUMBER: _ClassVar[int]
    evaluation_id: str
    episodes: _containers.RepeatedCompositeFieldContainer[_evaluation_pb2.Episode]
    def __init__(self, evaluation_id: _Optional[str] = ..., episodes: _Optional[_Iterable[_Union[_evaluation_pb2.Episode, _Mapping]]] = ...) -> None: ...

class RecordEpisodesResponse(_message.Message):
    __slots__ = ("stored_count", "duplicate_count", "episodes_done")
    STORED_COUNT_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    EPISODES_DONE_FIELD_NUMBER: _ClassVar[int]
    stored_count: int
    duplicate_count: int
    episodes_done: int
    def __init__(self, stored_count: _Optional[int] = ..., duplicate_count: _Optional[int] = ..., episodes_done: _Optional[int] = ...) -> None: ...

class FinishEvaluationRequest(_message.Message):
    __slots__ = ("evaluation_id", "error")
    EVALUATION_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    evaluation_id: str
    error: str
    def __init__(self, evaluation_id: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class ClaimMatchRequest(_message.Message):
    __slots__ = ("match_id",)
    MATCH_ID_FIELD_NUMBER: _ClassVar[int]
    match_id: str
    def __init__(self, match_id: _Optional[str] = ...) -> None: ...

class ClaimMatchResponse(_message.Message):
    __slots__ = ("match", "archives", "with_replay")
    MATCH_FIELD_NUMBER: _ClassVar[int]
    ARCHIVES_FIELD_NUMBER: _ClassVar[int]
    WITH_REPLAY_FIELD_NUMBER: _ClassVar[int]
    match: _match_pb2.Match
    archives: _containers.RepeatedScalarFieldContainer[bytes]
    with_replay: bool
    def __init__(self, match: _Optional[_Union[_match_pb2.Match, _Mapping]] = ..., archives: _Optional[_Iterable[bytes]] = ..., with_replay: _Optional[bool] = ...) -> None: ...

class FinishMatchRequest(_message.Message):
    __slots__ = ("match_id", "winner", "seats", "steps", "environment_version", "void", "replay")
    MATCH_ID_FIELD_NUMBER: _ClassVar[int]
    WINNER_FIELD_NUMBER: _ClassVar[int]
    SEATS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    VOID_FIELD_NUMBER: _ClassVar[int]
    REPLAY_FIELD_NUMBER: _ClassVar[int]
    match_id: str
    winner: int
    seats: _containers.RepeatedCompositeFieldContainer[_match_pb2.MatchSeat]
    steps: int
    environment_version: str
    void: str
    replay: bytes
    def __init__(self, match_id: _Optional[str] = ..., winner: _Optional[int] = ..., seats: _Optional[_Iterable[_Union[_match_pb2.MatchSeat, _Mapping]]] = ..., steps: _Optional[int] = ..., environment_version: _Optional[str] = ..., void: _Optional[str] = ..., replay: _Optional[bytes] = ...) -> None: ...

class ClaimBuildRequest(_message.Message):
    __slots__ = ("build_id",)
    BUILD_ID_FIELD_NUMBER: _ClassVar[int]
    build_id: str
    def __init__(self, build_id: _Optional[str] = ...) -> None: ...

class ClaimBuildResponse(_message.Message):
    __slots__ = ("archive", "name", "game", "seed")
    ARCHIVE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    GAME_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    archive: bytes
    name: str
    game: str
    seed: int
    def __init__(self, archive: _Optional[bytes] = ..., name: _Optional[str] = ..., game: _Optional[str] = ..., seed: _Optional[int] = ...) -> None: ...

class FinishBuildRequest(_message.Message):
    __slots__ = ("build_id", "error", "code", "log", "is_platform_fault")
    BUILD_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    IS_PLATFORM_FAULT_FIELD_NUMBER: _ClassVar[int]
    build_id: str
    error: str
    code: str
    log: str
    is_platform_fault: bool
    def __init__(self, build_id: _Optional[str] = ..., error: _Optional[str] = ..., code: _Optional[str] = ..., log: _Optional[str] = ..., is_platform_fault: _Optional[bool] = ...) -> None: ...

class FinishBuildResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
