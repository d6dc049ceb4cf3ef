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
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Any, Protocol, Self

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

    Actors and games of other learners are counted before these; seeds derive from the numbers, and
    game g of all plays `maps[g % len(maps)]`, until `Players.choose` says otherwise. Actor n of all
    is on core number `core` + n.
    """

    actors: int
    seed: int
    make_game: Callable[[str], Game]
    maps: tuple[str, ...]
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
        self.ring = ring
        self._weights = Weights(network)
        self._maps = casting.maps
        self._games_before = casting.games_before
        bounds = [
            ring.shape.games * number // casting.actors for number in range(casting.actors + 1)
        ]
        self._shares = [range(*pair) for pair in pairwise(bounds)]
        self._actors = [
            self._hire(
                Post(
                    number=casting.actors_before + number,
                    first=share.start,
                    count=len(share),
                    seed=casting.seed,
                    make_game=casting.make_game,
                    maps=casting.maps,
                    variables=casting.variables,
                    behaviour=casting.behaviour,
                    ring=ring,
                    weights=self._weights,
                    games_before=casting.games_before,
                ),
                casting.core,
            )
            for number, share in enumerate(self._shares)
        ]
        self.crashes = 0
        self._answers(_START_TIMEOUT_S)

    @staticmethod
    def _hire(post: Post, core: int) -> Hired:
        """Start an actor, which answers once its games stand ready."""
        return _Remote(post, core)

    def publish(self, network: Network) -> None:
        """Let the next window be played with the weights of `network`."""
        self._weights.publish(network)

    def choose(self, maps: tuple[str, ...]) -> None:
        """Let game g of all play `maps[g % len(maps)]`; restart or evaluate afterwards."""
        if maps != self._maps:
            self._maps = maps
            self._tell({"do": "choose", "maps": maps})
            self._answers()

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
        """Play the episodes of `seeds` greedily on every map; restart afterwards.

        Answers those of the first map in the order of `seeds`, then those of the next.
        """
        dealt = self._deal(len(seeds))
        for actor, share in zip(self._actors, self._shares, strict=True):
            chosen = [[seeds[place % len(seeds)] for place in dealt[game]] for game in share]
            actor.tell({"do": "evaluate", "seeds": chosen})
        played = [episodes for answer in self._answers() for episodes in answer["games"]]
        found = {
            place: episode
            for places, episodes in zip(dealt, played, strict=True)
            for place, episode in zip(places, episodes, strict=True)
        }
        return [found[place] for place in range(len(found))]

    def _deal(self, count: int) -> list[list[int]]:
        """Deal `count` episodes a map out to the games that play it; actors take turns."""
        turns = [game for turn in zip_longest(*self._shares) for game in turn if game is not None]
        dealt: list[list[int]] = [[] for _ in turns]
        for nth in range(len(self._maps)):
            able = [game for game in turns if (self._games_before + game) % len(self._maps) == nth]
            for place in range(count):
                dealt[able[place % len(able)]].append(nth * count + place)
        return dealt

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


class Hired(Protocol):
    """One actor, who does what he is told and then answers; after the start, too."""

    def tell(self, message: dict[str, Any]) -> None:
        """Say what to do next."""
        ...

    def answer(self, timeout_s: float | None) -> dict[str, Any]:
        """Wait for the answer to what was told last."""
        ...

    def close(self) -> None:
        """End the actor and its games."""
        ...


class _Remote:
    """One actor's process, and the way to it."""

    def __init__(self, post: Post, core: int) -> None:
        prepare()
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
    pin_thread(core + post.number)
    try:
        with contextlib.closing(Actor(post)) as actor:
            _serve(actor, connection)
    except (EOFError, ConnectionError):
        return
    except Exception as error:
        connection.send_bytes(json.dumps({"error": repr(error)}).encode())
        raise


def _serve(actor: Actor, connection: Connection) -> None:
    connection.send_bytes(json.dumps(STARTED).encode())
    while True:
        answer = obey(actor, json.loads(connection.recv_bytes()))
        connection.send_bytes(json.dumps(answer).encode())


STARTED = {"crashes": 0}
"""What an actor answers once its games stand ready."""


def obey(actor: Actor, message: dict[str, Any]) -> dict[str, Any]:
    """Let an actor do what a message of `Players` says; answers what is to be answered."""
    answer: dict[str, Any] = {}
    if message["do"] == "choose":
        actor.choose(tuple(message["maps"]))
    elif message["do"] == "restart":
        actor.restart(message["iteration"])
    elif message["do"] == "play":
        answer["episodes"] = actor.play(message["iteration"], message["exploration"])
    else:
        answer["games"] = actor.evaluate(message["seeds"])
    return {**answer, "crashes": actor.crashes}
