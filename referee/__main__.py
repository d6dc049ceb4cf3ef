"""One attempt at an evaluation, a match or a build.

Exit codes are those of `trainer.attempt`; bad input is a checkpoint that cannot be judged, or
something to play that has ended.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from referee.evaluator import EndedError, Evaluator
from trainer import platform
from trainer.attempt import Attempt, run
from trainer.checkpoint import CheckpointError
from trainer.config import ConfigError
from trainer.reporter import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.struct_pb2 import Struct

    Work = Callable[[Attempt, Evaluator, str], Request]

BAD_INPUT = (CheckpointError, EndedError)

_BEATS_TO_HEAR_WHY = 4


def judge(attempt: Attempt) -> Request:
    """Do what the run is about; on return all that came of it is recorded."""
    work, about = _work(attempt.lease.run.config)
    with platform.channel(platform.variable("ELODROME_EVALUATOR_ADDRESS")) as channel:
        try:
            evaluator = Evaluator(channel, attempt.credential)
            return work(attempt, evaluator, about)
        except EndedError:
            # Whoever cancels it cancels its run too, perhaps a moment later.
            request = attempt.lease.await_request(_BEATS_TO_HEAR_WHY)
            if request is Request.GO_ON:
                raise
            return request


def _work(config: Struct) -> tuple[Work, str]:
    """Return what there is to do, and the id of what it is about; raises ConfigError.

    Nothing else is loaded: Doom alone takes as long as a whole match.
    """
    if "evaluation_id" in config:
        from referee import evaluations  # noqa: PLC0415

        return evaluations.judge, str(config["evaluation_id"])
    from referee import arena  # noqa: PLC0415

    for name, work in (("match_id", arena.hold_match), ("build_id", arena.build)):
        if name in config:
            return work, str(config[name])
    raise ConfigError("config", "must name an evaluation, a match or a build")


if __name__ == "__main__":
    sys.exit(run(judge, bad_input=BAD_INPUT))
