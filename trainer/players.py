"""The actors of a training, seen from the learner: each a process of its own, tied to its life.

Messages are a few bytes a window; everything else passes through shared memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

from games.doom.engine import pin_thread
from trainer.actor import Actor, Post
from trainer.forkserver import CONTEXT, prepare
from trainer.weights import Weights

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from games.interface import Game
    from trainer.actor import Behaviour, Episode
    from trainer.networks import Network
    from trainer.ring import Ring

_PR_SET_PDEATHSIG = 1
_START_TIMEOUT_S = 120.0


class ActorError(RuntimeError):
    """An actor failed; the message holds what it said last."""


@dataclass(frozen=True)
class Casting:
    """Who plays: `actors` processes share `ring.shape.games` games as evenly as they can.

    Actors and games of other learners are counted before them: they have other numbers, from which
    their seeds derive. The first actor of all is on core number `core`, each other on the next.
    """

    actors: int
    seed: int
    make_game: Callable[[], Game]
    variables: tuple[str, ...]
    behaviour: Behaviour
    actors_before: int = 0
    games_before: int = 0
    core: int = field(default_factory=os.getpid)


class Players:
    """All actors; one window, or one evaluation, is under way at a time."""

    def __init__(self, casting: Casting, ring: Ring, network: Network) -> None:
        """Start the actors and their games; raises ActorError where one cannot start.

        `network` says which weights the actors play with, once they are published.
        """
        prepare()
        self.ring = ring
        self._weights = Weights(network)
        bounds = [
            ring.shape.games * number // casting.actors for number in range(casting.actors + 1)
        ]
        self._actors = [
            _Remote(
                Post(
                    number=casting.actors_before + number,
                    first=first,
                    count=last - first,
                    seed=casting.seed,
                    make_game=casting.make_game,
                    variables=casting.variables,
                    behaviour=casting.behaviour,
                    ring=ring,
                    weights=self._weights,
                    games_before=casting.games_before,
                ),
                casting.core + casting.actors_before + number,
            )
            for number, (first, last) in enumerate(pairwise(bounds))
        ]
        self.crashes = 0
        self._answers(_START_TIMEOUT_S)

    def publish(self, network: Network) -> None:
        """Let the next window be played with the weights of `network`."""
        self._weights.publish(network)

    def restart(self, iteration: int) -> None:
        """Leave every episode and begin those that the iteration decides."""
        self.ring.cut(iteration * self.ring.shape.rollout_steps - 1)
        self._tell({"do": "restart", "iteration": iteration})
        self._answers()

    def start(self, iteration: int, exploration: float = 0.0) -> None:
        """Begin to play the window of an iteration."""
        self._tell({"do": "play", "iteration": iteration, "exploration": exploration})

    def wait(self) -> list[Episode]:
        """Wait until the window is played; answers the episodes that ended in it."""
        return [episode for answer in self._answers() for episode in answer["episodes"]]

    def evaluate(self, seeds: Sequence[int]) -> list[Episode]:
        """Play the episodes of `seeds` greedily, spread over all games; restart afterwards."""
        count = len(self._actors)
        for number, actor in enumerate(self._actors):
            actor.tell({"do": "evaluate", "seeds": list(seeds[number::count])})
        answers = [answer["episodes"] for answer in self._answers()]
        return [answers[place % count][place // count] for place in range(len(seeds))]

    def close(self) -> None:
        """End every actor and its games; what does not end by itself is killed."""
        for actor in self._actors:
            actor.close()

    def __enter__(self) -> Self:
        """Stay open for a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close, whatever happened."""
        self.close()

    def _tell(self, message: dict[str, Any]) -> None:
        for actor in self._actors:
            actor.tell(message)

    def _answers(self, timeout_s: float | None = None) -> list[dict[str, Any]]:
        answers = [actor.answer(timeout_s) for actor in self._actors]
        self.crashes = sum(answer["crashes"] for answer in answers)
        return answers


class _Remote:
    """One actor's process, and the way to it."""

    def __init__(self, post: Post, core: int) -> None:
        self._number = post.number
        self._connection, theirs = CONTEXT.Pipe()
        self._process: BaseProcess = CONTEXT.Process(
            target=_live, args=(post, theirs, core), name=f"actor-{post.number}", daemon=True
        )
        self._process.start()
        theirs.close()

    def tell(self, message: dict[str, Any]) -> None:
        try:
            self._connection.send_bytes(json.dumps(message).encode())
        except OSError as error:
            raise ActorError(self._how_it_ended()) from error

    def answer(self, timeout_s: float | None) -> dict[str, Any]:
        try:
            if not self._connection.poll(timeout_s):
                raise ActorError(f"actor {self._number} did not start within {timeout_s:g} s")
            answer = json.loads(self._connection.recv_bytes())
        except (EOFError, ConnectionError) as error:
            raise ActorError(self._how_it_ended()) from error
        if "error" in answer:
            raise ActorError(f"actor {self._number} failed: {answer['error']}")
        return answer

    def close(self) -> None:
        self._connection.close()
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _how_it_ended(self) -> str:
        self._process.join(timeout=10)
        return f"actor {self._number} ended with exit code {self._process.exitcode}"


def _live(post: Post, connection: Connection, core: int) -> None:
    """Be an actor until the learner closes its end, or is gone."""
    # The parent is the fork server, which ends with the learner, however that ends.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    pin_thread(core)
    try:
        with contextlib.closing(Actor(post)) as actor:
            _serve(actor, connection)
    except (EOFError, ConnectionError):
        return
    except Exception as error:
        connection.send_bytes(json.dumps({"error": repr(error)}).encode())
        raise


def _serve(actor: Actor, connection: Connection) -> None:
    connection.send_bytes(json.dumps({"crashes": 0}).encode())
    while True:
        message = json.loads(connection.recv_bytes())
        episodes: list[Episode] = []
        if message["do"] == "restart":
            actor.restart(message["iteration"])
        elif message["do"] == "play":
            episodes = actor.play(message["iteration"], message["exploration"])
        else:
            episodes = actor.evaluate(message["seeds"])
        answer = {"episodes": episodes, "crashes": actor.crashes}
        connection.send_bytes(json.dumps(answer).encode())
