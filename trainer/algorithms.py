"""From a config to a training that stands at its beginning."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from trainer.doom import new_game
from trainer.dqn import Training
from trainer.vector import VectorGame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer.config import Config
    from trainer.reporter import Reporter


@contextmanager
def opened(config: Config, reporter: Reporter) -> Iterator[Training]:
    """Start the games of a config and hand out the training on them; end the games afterwards."""
    with VectorGame(lambda: new_game(config), config.games) as games:
        yield Training(config, games, reporter)
