"""A process of a training of Catch by several learners: `learner.py DIRECTORY CONFIG [CHECKPOINT]`.

It is one of those that torchrun has started if the environment says so, else it starts the others.
The first one writes a line after each iteration, and the digest of the last checkpoint in the end.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from games.catch.environment import CatchGame
from trainer import learners
from trainer.algorithms import follow, opened
from trainer.config import parse
from trainer.games import GameSetup
from trainer.offline import OfflineReporter

CATCH = GameSetup(start=CatchGame, space=CatchGame().observation_space, action_count=3)


class Telling(OfflineReporter):
    """Tells how far it is."""

    def progress(self, *, iteration: int, step: int, phase: str) -> None:
        super().progress(iteration=iteration, step=step, phase=phase)
        tell(f"{phase} {iteration}")


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(directory: Path, config_text: str, *checkpoints: str) -> None:
    if learners.is_follower():
        learners.attend(follow)
        return
    config = parse(json.loads(config_text))
    reporter = Telling(directory)
    with opened(config, reporter, game=CATCH) as training:
        for path in checkpoints:
            training.load(Path(path))
        training.run()
    tell(reporter.digests[config.iterations])


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
