"""The ceiling of `basic`: a script that is told where on the screen the monster stands.

`python -m bench.train.oracle basic` prints its mean score over the evaluation episodes. It aims
where the monster will be after the decision, and shoots while it moves. Of the variants tried on
200 seeds (with and without leading, with and without moving while shooting, 4 to 12 pixels off at
most) none was better.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.train.peers.doom import EVALUATION_SEEDS, FRAME_SKIP, engine, score

if TYPE_CHECKING:
    import vizdoom

BUTTONS = ("MOVE_LEFT", "MOVE_RIGHT", "ATTACK")
CENTRE = 80
NEAR = 5


def main() -> None:
    """Print the mean."""
    game = engine("basic", seed=0, labels=True, buttons=BUTTONS)
    scores = [_play(game, seed) for seed in EVALUATION_SEEDS]
    print(json.dumps({"t": 0.0, "steps": 0, "score": sum(scores) / len(scores)}))


def _play(game: vizdoom.DoomGame, seed: int) -> float:
    game.set_seed(seed)
    game.new_episode()
    before = None
    while not game.is_episode_finished():
        labels = game.get_state().labels or []
        monster = next(label for label in labels if label.object_name == "Cacodemon")
        now = monster.x + monster.width / 2 - CENTRE
        expected = now + (0 if before is None else now - before)
        before = now
        is_hit = abs(expected) <= monster.width / 2
        game.make_action([expected < -NEAR, expected > NEAR, is_hit], FRAME_SKIP)
    return score(game, "basic")


if __name__ == "__main__":
    main()
