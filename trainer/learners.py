"""The processes that learn together: torchrun has started them all, or the first starts the others.

Only the first is known to the outside. The others do what `follow` says until the first is done.
Nobody can go on without one that ends too early, so that ends them all.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from datetime import timedelta
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

import torch
from torch import distributed
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from trainer.forkserver import CONTEXT, prepare
from trainer.peers import ALONE, LostPeerError, Peers
from trainer.rules import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    Follow = Callable[[Peers], None]

_LOOPBACK = "127.0.0.1"
_START_TIMEOUT_S = 120.0
_END_TIMEOUT_S = 15.0
# Who is gone is noticed at once; this is for who hangs. The others do nothing that the first does
# not do as well, but it may have to wait for the platform, a few times trainer.platform.PATIENCE_S.
_FIRST_WAITS, _OTHERS_WAIT = timedelta(minutes=5), timedelta(minutes=30)


class LearnerError(RuntimeError):
    """One of the other learners failed; the message holds what it said last."""


@contextlib.contextmanager
def together(count: int, follow: Follow) -> Iterator[Peers]:
    """Be the first of `count` learners for a block; `follow` travels to those that it starts.

    Raises ConfigError where torchrun has started another number of them, and LearnerError where
    the block fails because one of the others did.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started > 1:
        with _by_torchrun() as peers:
            if count != started:
                raise ConfigError("learners", f"must be {started}, as many as torchrun started")
            try:
                yield peers
            except LostPeerError as error:
                raise LearnerError(f"another learner is gone: {error}") from error
    elif count > 1:
        with _by_the_first(count, follow) as peers:
            yield peers
    else:
        yield ALONE


def is_follower() -> bool:
    """Tell whether torchrun has started this process as one of the other learners."""
    return int(os.environ.get("RANK", "0")) > 0


def attend(follow: Follow) -> None:
    """Be one of the other learners that torchrun has started, until the first is done."""
    _outlive_signals()
    # Whoever is gone says why, here as below.
    with contextlib.suppress(LostPeerError), _by_torchrun() as peers:
        follow(peers)


@contextlib.contextmanager
def _by_torchrun() -> Iterator[Peers]:
    """Meet the others where torchrun's environment says."""
    rank = int(os.environ["RANK"])
    distributed.init_process_group(_backend(), timeout=_timeout(rank))
    place, places = (
        int(os.environ.get(name, default))
        for name, default in (("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1"))
    )
    with _met(place, places) as peers:
        yield peers


@contextlib.contextmanager
def _by_the_first(count: int, follow: Follow) -> Iterator[Peers]:
    """Start the others, and meet them."""
    prepare()
    timeout = timedelta(seconds=_START_TIMEOUT_S)
    store = TCPStore(_LOOPBACK, 0, is_master=True, wait_for_workers=False, timeout=timeout)
    others = [_Remote(rank, count, store.port, follow) for rank in range(1, count)]
    try:
        for other in others:
            other.wait_until_started()
        with _on_this_machine(store, 0, count) as peers:
            yield peers
        for other in others:
            other.join(_END_TIMEOUT_S)
    except LostPeerError as error:
        raise LearnerError(
            _who_failed(others) or f"the learners lost each other: {error}"
        ) from error
    finally:
        # Their actors notice and end as if they had been told to.
        for other in others:
            other.kill()


@contextlib.contextmanager
def _on_this_machine(store: TCPStore, rank: int, count: int) -> Iterator[Peers]:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    distributed.init_process_group(
        _backend(), store=store, rank=rank, world_size=count, timeout=_timeout(rank)
    )
    with _met(rank, count) as peers:
        yield peers


@contextlib.contextmanager
def _met(place: int, places: int) -> Iterator[Peers]:
    try:
        yield Peers(distributed.group.WORLD, place=place, places=places)
    finally:
        distributed.destroy_process_group()


def _backend() -> str:
    """Choose what adds up gradients where they are; messages and CPUs always take gloo."""
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


def _timeout(rank: int) -> timedelta:
    return _OTHERS_WAIT if rank else _FIRST_WAITS


class _Remote:
    """Another learner's process, seen from the first."""

    def __init__(self, rank: int, count: int, port: int, follow: Follow) -> None:
        self._rank = rank
        self._connection, theirs = CONTEXT.Pipe(duplex=False)
        # No daemon, for those may not start actors.
        self._process = CONTEXT.Process(
            target=_live, args=(rank, count, port, follow, theirs), name=f"learner-{rank}"
        )
        self._process.start()
        theirs.close()

    def wait_until_started(self) -> None:
        if not self._connection.poll(_START_TIMEOUT_S):
            raise LearnerError(f"learner {self._rank} did not start in {_START_TIMEOUT_S:g} s")
        if self._last_words() is None:
            self.join(_END_TIMEOUT_S)
            raise LearnerError(self.how_it_ended())

    @property
    def sentinel(self) -> int:
        """What becomes ready when it ends."""
        return self._process.sentinel

    @property
    def has_failed(self) -> bool:
        """Whether it ended by itself, and not because another one did."""
        return self._process.exitcode not in {None, 0}

    def how_it_ended(self) -> str:
        if self._process.exitcode is None:
            return f"learner {self._rank} does not answer"
        if words := self._last_words():
            return f"learner {self._rank} failed: {words}"
        return f"learner {self._rank} ended with exit code {self._process.exitcode}"

    def join(self, timeout_s: float) -> None:
        self._process.join(timeout_s)

    def kill(self) -> None:
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._connection.close()

    def _last_words(self) -> str | None:
        try:
            return self._connection.recv() if self._connection.poll(0) else None
        except EOFError:
            return None


def _who_failed(others: list[_Remote]) -> str:
    """Wait until one of them has ended by itself; answers how, and nothing if none has."""
    running, deadline = list(others), time.monotonic() + _END_TIMEOUT_S
    while running and not any(other.has_failed for other in others):
        ended = wait([one.sentinel for one in running], max(0.0, deadline - time.monotonic()))
        if not ended:
            break
        running = [one for one in running if one.sentinel not in ended]
    culprits = [other for other in others if other.has_failed] or running
    return "; ".join(other.how_it_ended() for other in culprits)


def _live(rank: int, count: int, port: int, follow: Follow, connection: Connection) -> None:
    """Be one of the other learners, until the first is done or gone."""
    prepare()
    _outlive_signals()
    connection.send("")
    timeout = timedelta(seconds=_START_TIMEOUT_S)
    store = TCPStore(_LOOPBACK, port, is_master=False, timeout=timeout)
    try:
        with contextlib.suppress(LostPeerError), _on_this_machine(store, rank, count) as peers:
            follow(peers)
    except Exception as error:
        connection.send(repr(error))
        raise


def _outlive_signals() -> None:
    """Leave it to the first learner to end in good order when a whole group is told to."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
