"""Elodrome's actors without a network: `python -m bench.train.sampler SCENARIO`.

As many games as PPO plays by default play at random into the ring that a learner would read.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bench.train.raw import WINDOW_S, WINDOWS
from trainer.config import parse
from trainer.games import game_setup
from trainer.networks import Network
from trainer.players import Casting, Players
from trainer.ring import Ring, RingShape

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from trainer.networks import Seen


class Blind(Network):
    """A network that looks at nothing."""

    def __init__(self) -> None:
        """Hold one weight, since a network without any cannot be shared."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, seen: Seen, state: Tensor) -> tuple[Tensor, Tensor]:
        """Answer a value for each observation, and the state as it was."""
        return torch.zeros(len(seen.frames), 1), state


@dataclass(frozen=True)
class AnyAction:
    """Takes any action at all."""

    action_count: int

    def network(self) -> Network:
        """Lay out the network."""
        return Blind()

    def act(
        self,
        outputs: Sequence[Tensor],
        generator: np.random.Generator,
        exploration: float,  # noqa: ARG002 - it is all exploration
    ) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
        """Draw an action for each game."""
        return generator.integers(0, self.action_count, len(outputs[0])), {}


def main() -> None:
    """Print the steps per second of each window, all games together."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario")
    config = parse({"scenario": parser.parse_args().scenario})
    game = game_setup(config)
    shape = RingShape(
        space=game.space,
        games=config.games,
        rollout_steps=config.rollout_steps,
        windows=2,
    )
    ring = Ring(shape)
    casting = Casting(
        actors=config.actors,
        seed=0,
        make_game=game.start,
        maps=(config.scenario,),
        variables=(),
        behaviour=AnyAction(game.action_count),
    )
    with Players(casting, ring, Blind()) as players:
        players.publish(Blind())
        players.restart(0)
        iteration = 0
        for _ in range(WINDOWS):
            begin, first = time.perf_counter(), iteration
            while time.perf_counter() - begin < WINDOW_S:
                players.start(iteration, 1.0)
                players.wait()
                iteration += 1
            steps = (iteration - first) * config.steps_per_iteration
            speed = steps / (time.perf_counter() - begin)
            print(json.dumps({"steps_per_s": round(speed, 1)}), flush=True)


if __name__ == "__main__":
    main()
