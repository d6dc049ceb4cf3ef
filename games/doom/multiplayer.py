"""A match: two to eight players, each with an engine, who meet over the loopback in lock-step.

How it is kept together, all found out by trying ViZDoom 1.3.2:

- Engines exchange commands every tic. One that was told several tics at once can wait for a command
  that another, which has done its own, no longer sends; so all are told one tic at a time.
- An engine adapts to when it hears from the host: four times late, and its own commands are a tic
  late, too. So the others are told when the host's commands lie in their inboxes. A match then
  repeats itself whatever the load; and is faster, since engines wait for others by spinning.
- Engines number players in the order in which they joined. Seats are equal, so they are sorted.
- A running match can change its map but not its random numbers; an episode needs fresh engines.
"""

from __future__ import annotations

import socket
import sys
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

import vizdoom

from games.doom.engine import START_DEADLINE_S, EngineDiedError, EngineError
from games.doom.environment import DoomGame
from games.doom.inboxes import Inboxes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from games.doom.observation import ObservationOptions
    from games.doom.rewards import RewardWeights
    from games.doom.scenarios import Scenario
    from games.interface import Frame, Outcome

    Result = TypeVar("Result")

PLAYERS = range(2, 9)
TIC_DEADLINE_S = 30.0

_LISTEN_S = 20e-6
_SILENCE_S = 5.0
_RETRY_S = 0.05
# An engine that is late tells more than a match that is.
_GRACE_S = 5.0


class Match:
    """All players of one scenario; what one sees and does is as in a `DoomGame` of its own.

    Players die and come back as the engine has it, about a second later, and decide meanwhile in
    vain. An episode ends for all at the same tic: by the clock, or when the map ends.
    """

    def __init__(
        self,
        players: int,
        scenario: str | Scenario,
        options: ObservationOptions,
        *,
        action_combinations: str = "",
        reward_weights: RewardWeights | None = None,
        features: bool = False,
        wad: Path | None = None,
        start_deadline_s: float = START_DEADLINE_S,
        tic_deadline_s: float = TIC_DEADLINE_S,
    ) -> None:
        """Declare a match; engines begin with an episode.

        Raises ValueError for a number of players that is not in PLAYERS, and what DoomGame raises.
        """
        if players not in PLAYERS:
            least, most = PLAYERS[0], PLAYERS[-1]
            raise ValueError(f"players is {players}; it must be in [{least}, {most}]")
        self.seats = [
            Seat(
                scenario,
                options,
                action_combinations=action_combinations,
                reward_weights=reward_weights,
                features=features,
                wad=wad,
                start_deadline_s=start_deadline_s,
            )
            for _ in range(players)
        ]
        self.action_count = self.seats[0].action_count
        self.observation_space = self.seats[0].observation_space
        self._frame_skip = options.frame_skip
        self._start_deadline_s = start_deadline_s
        self._tic_deadline_s = tic_deadline_s
        self._is_known = wad is None
        self._inboxes: Inboxes | None = None
        self._threads = ThreadPoolExecutor(players, thread_name_prefix="seat")

    def new_episode(self, seed: int, frames: Sequence[Frame]) -> None:
        """Begin the episode of `seed`, in [0, 2**31), and show every player its first frame.

        Takes about a second, in which the engines start and find each other. Raises EngineError,
        and then no engine is left.
        """
        self._end()
        self._inboxes = None
        if not self._is_known:
            self.seats[0].try_alone()
            self._is_known = True
        players = len(self.seats)
        with _reserved_port() as port:
            joins = [partial(Seat.host, port=port, players=players, seed=seed)]
            joins += [partial(Seat.join, port=port, seed=seed)] * (players - 1)
            self._all(joins, self._start_deadline_s + _GRACE_S)
        self.seats.sort(key=lambda seat: seat.number)
        numbers = [seat.number for seat in self.seats]
        if numbers != list(range(players)):
            self._end()
            raise EngineError(f"players have the numbers {numbers} in a match of {players}")
        self._inboxes = Inboxes(seat.engine_pid for seat in self.seats[1:])
        for seat, frame in zip(self.seats, frames, strict=True):
            seat.begin(frame)

    def make_actions(self, actions: Sequence[int], frames: Sequence[Frame]) -> list[Outcome]:
        """Play one decision of every player; each is shown the frame that it led to.

        Raises EngineDiedError where an engine died, and EngineError where one did not answer
        within the deadline; the match is over then and no engine is left.
        """
        for seat, action in zip(self.seats, actions, strict=True):
            seat.press(action)
        # The last tic of an episode has to be looked at: after it, there is none any more.
        for left in reversed(range(min(self._frame_skip, self.seats[0].tics_left))):
            tic = partial(Seat.tic, is_last=left == 0)
            self._all([tic] * len(self.seats), self._tic_deadline_s)
            if self.seats[0].is_episode_finished():
                break
        if len(set(self.tics)) > 1:
            tics = self.tics
            self._end()
            raise EngineError(f"players are at different tics: {tics}")
        return [seat.outcome(frame) for seat, frame in zip(self.seats, frames, strict=True)]

    @property
    def tics(self) -> list[int]:
        """How many tics of the episode every player has played."""
        return [seat.episode_tic for seat in self.seats]

    def close(self) -> None:
        """End every engine; closing twice is allowed."""
        self._end()
        self._threads.shutdown()

    def __enter__(self) -> Self:
        """Stay open for a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close, whatever happened."""
        self.close()

    def _all(self, calls: Sequence[Callable[[Seat], None]], deadline_s: float) -> None:
        """Call for every seat in a thread of its own; raises EngineError where one fails."""
        (host, call), *others = zip(self.seats, calls, strict=True)
        unread = self._inboxes.unread() if self._inboxes else []
        futures = [self._threads.submit(call, host)]
        self._listen(unread, futures[0])
        futures += [self._threads.submit(call, seat) for seat, call in others]
        done, _ = wait(futures, timeout=deadline_s, return_when=FIRST_EXCEPTION)
        if len(done) == len(futures) and not any(future.exception() for future in futures):
            return
        self._abandon(futures, deadline_s)

    def _listen(self, unread: list[int], host: Future[None]) -> None:
        """Wait until everybody has got something from the host, who is at work."""
        since = time.monotonic()
        while self._inboxes and not host.done():
            if all(now > then for now, then in zip(self._inboxes.unread(), unread, strict=True)):
                return
            if time.monotonic() > since + _SILENCE_S:
                # This system does not tell.
                self._inboxes = None
                return
            time.sleep(_LISTEN_S)

    def _abandon(self, futures: list[Future[None]], deadline_s: float) -> None:
        """End the match and say who failed; who waits for a dead player would do so for ever."""
        failures = [
            (number, error)
            for number, future in enumerate(futures)
            if future.done() and (error := future.exception())
        ]
        while wait(futures, timeout=_RETRY_S).not_done:
            for seat in self.seats:
                seat.kill()
        self._end()
        if not failures:
            raise EngineError(f"the match stood still for {deadline_s:g} s")
        number, error = failures[0]
        kind = EngineDiedError if isinstance(error, EngineDiedError) else EngineError
        raise kind(f"player {number + 1} of {len(futures)} ended the match: {error}") from error

    def _end(self) -> None:
        for seat in self.seats:
            seat.kill()
            seat.close()


class Seat(DoomGame):
    """One player of a match, who does a tic at a time, when all others do."""

    # What its engine is told about the match, while there is one.
    _meeting = ""
    _seed = 0
    # Whether the tic played last was looked at.
    _is_seen = True

    def host(self, *, port: int, players: int, seed: int) -> None:
        """Start an engine that waits at `port` for all other players."""
        self._meet(f"-host {players} -port {port}", seed)

    def join(self, *, port: int, seed: int) -> None:
        """Start an engine that joins at `port`."""
        self._meet(f"-join 127.0.0.1:{port}", seed)

    def try_alone(self) -> None:
        """Start and end an engine: only one that is alone can say why a map cannot be played."""
        self._meeting = ""
        self.start()
        self.close()

    def press(self, action: int) -> None:
        """Hold the buttons of `action` from the next tic on."""
        self._engine.set_action(self._presses[action])

    def tic(self, *, is_last: bool) -> None:
        """Play one tic; what it led to is only looked at after the last of a decision."""
        self._engine.advance_action(1, is_last)
        self._is_seen = is_last

    def begin(self, frame: Frame) -> None:
        """Show the first frame."""
        self._begin(frame)

    def outcome(self, frame: Frame) -> Outcome:
        """Answer what the decision led to, and show it.

        Where the map ended in the middle of it, the scenario has no reward for that.
        """
        return self._outcome(self._engine.get_last_reward() if self._is_seen else 0.0, frame)

    @property
    def number(self) -> int:
        """The engine's number of this player, in [0, players)."""
        return int(self._engine.get_game_variable(vizdoom.GameVariable.PLAYER_NUMBER))

    @property
    def engine_pid(self) -> int:
        """The number of the engine's process."""
        return self._engine.pid or 0

    @property
    def episode_tic(self) -> int:
        """How many tics of the episode are played."""
        return self._engine.get_episode_time()

    @property
    def tics_left(self) -> int:
        """How many tics the clock leaves of the episode; without one, all there are."""
        engine = self._engine
        end = engine.get_episode_start_time() + engine.get_episode_timeout()
        return end - self.episode_tic if engine.get_episode_timeout() else sys.maxsize

    def kill(self) -> None:
        """End the engine at once; who waits for it is told."""
        self._engine.kill()

    def _meet(self, where: str, seed: int) -> None:
        # Without a timeout of its own an engine never goes on without the others.
        patience = f"+viz_connect_timeout {self._start_deadline_s:.0f} +viz_sync_timeout 0"
        self._meeting = f"{where} {patience}"
        self._seed = seed
        self._respawns = True
        self.start()

    def _launch(self, directory: Path) -> None:
        if not self._meeting:
            super()._launch(directory)
            return
        self._engine.set_seed(self._seed)
        self._engine.add_game_args(self._meeting)
        self._engine.launch(directory, self._start_deadline_s, is_alone=False)


@contextmanager
def _reserved_port() -> Iterator[int]:
    """Choose a port for the host's engine, which no other match can choose meanwhile.

    Matches agree by binding the TCP port of that number, of which the kernel gives each another;
    engines use UDP, so the port must be free there as well.
    """
    with ExitStack() as held:
        while True:
            reservation = held.enter_context(socket.socket())
            reservation.bind(("127.0.0.1", 0))
            port = reservation.getsockname()[1]
            if _is_free(port):
                yield port
                return


def _is_free(port: int) -> bool:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
