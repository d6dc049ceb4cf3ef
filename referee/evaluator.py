"""Calls of a referee to the evaluator: tried again while that may help, and ended by its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from elodrome.evaluator.v1.referee_service_pb2_grpc import RefereeServiceStub

from trainer.platform import CALL_TIMEOUT_S, Retry, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from trainer.platform import Credential

Answer = TypeVar("Answer")

_ENDED = ("EVALUATION_ENDED", "MATCH_ENDED", "BUILD_ENDED")


class EndedError(Exception):
    """What was to be played has ended without this referee: cancelled, or its time was up."""


class Evaluator:
    """The evaluator as the referee of one run sees it."""

    def __init__(self, channel: grpc.Channel, credential: Credential) -> None:
        self.stub = RefereeServiceStub(channel)
        self._credential = credential
        self._retry = Retry()

    def call(
        self,
        what: str,
        rpc: Callable[..., Answer],
        request: Message,
        *,
        timeout_s: float = CALL_TIMEOUT_S,
        recorded: bool = True,
    ) -> Answer:
        """Call an RPC of `stub`; raises EndedError and what `trainer.platform.Retry` raises."""

        def once() -> Answer:
            metadata: Any = self._credential.metadata(recorded=recorded)
            try:
                return rpc(request, timeout=timeout_s, metadata=metadata)
            except grpc.RpcError as error:
                if reason_of(error) in _ENDED:
                    raise EndedError(error.details()) from error
                raise

        return self._retry(what, once)
