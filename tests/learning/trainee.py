"""A real training in a process of its own, to be killed: `trainee.py DIRECTORY CONFIG`.

It goes on from the latest checkpoint in DIRECTORY. Each step of its progress is a line, after which
it waits for one, so that whoever reads decides how far it gets; the last line has the digest of the
last checkpoint. Started as torchrun starts the others of several learners, it is one of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from trainer import learners
from trainer.algorithms import follow, opened
from trainer.config import parse
from trainer.offline import OfflineReporter


class Telling(OfflineReporter):
    """Tells how far it is, and goes on when told to."""

    def progress(self, *, iteration: int, step: int, phase: str) -> None:
        super().progress(iteration=iteration, step=step, phase=phase)
        tell(f"{phase} {iteration}")
        sys.stdin.readline()


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(directory: Path, config_text: str) -> None:
    config = parse(json.loads(config_text))
    reporter = Telling(directory)
    with opened(config, reporter) as training:
        if saved := [int(path.stem) for path in directory.glob("*.safetensors")]:
            training.load(reporter.path_of(max(saved)))
        training.run()
    tell(f"done {reporter.digests[config.iterations]}")


if __name__ == "__main__":
    if learners.is_follower():
        sys.exit(learners.attend(follow))
    main(Path(sys.argv[1]), sys.argv[2])
