"""One attempt at an evaluation, a match or a build.

Exit codes are those of `trainer.attempt`; bad input is a checkpoint that cannot be judged, or
something to play that has ended.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from referee import arena, evaluations
from referee.evaluator import EndedError, Evaluator
from trainer import platform
from trainer.attempt import Attempt, run
from trainer.checkpoint import CheckpointError
from trainer.config import ConfigError
from trainer.reporter import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    Work = Callable[[Attempt, Evaluator, str], Request]

BAD_INPUT = (CheckpointError, EndedError)

_BEATS_TO_HEAR_WHY = 4
_WORK: dict[str, Work] = {
    "evaluation_id": evaluations.judge,
    "match_id": arena.hold_match,
    "build_id": arena.build,
}


def judge(attempt: Attempt) -> Request:
    """Do what the run is about; on return all that came of it is recorded."""
    config = attempt.lease.run.config
    about = next((name for name in _WORK if name in config), None)
    if about is None:
        raise ConfigError("config", f"must name one of {', '.join(_WORK)}")
    with platform.channel(platform.variable("ELODROME_EVALUATOR_ADDRESS")) as channel:
        try:
            evaluator = Evaluator(channel, attempt.credential)
            return _WORK[about](attempt, evaluator, str(config[about]))
        except EndedError:
            # Whoever cancels it cancels its run too, perhaps a moment later.
            request = attempt.lease.await_request(_BEATS_TO_HEAR_WHY)
            if request is Request.GO_ON:
                raise
            return request


if __name__ == "__main__":
    sys.exit(run(judge, bad_input=BAD_INPUT))
