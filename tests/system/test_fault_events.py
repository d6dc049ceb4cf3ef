"""Events under kill -9 and a broken network: none is lost, none takes effect twice."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

import psutil
import pytest

from deploy.bus import SERVICES
from tests.system.events import Ledger
from tests.system.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from tests.system.stack import Stack

OUTAGE_S = 20
BLACKHOLE_S = 60
RECOVERY_S = 30
GROWTH_BYTES = 50_000_000


# F11, F12
@pytest.mark.parametrize("failpoint", ["outbox.before_publish", "outbox.after_publish"])
def test_relay_killed_around_a_publish(stack: Stack, failpoint: str) -> None:
    ledger = Ledger.open(stack)
    stack.arm("registry", ELODROME_FAILPOINT=f"{failpoint}:kill@1")
    armed = stack.identity("registry")
    ledger.commit()
    stack.wait_replaced("registry", armed)
    ledger.commit()
    ledger.check()


# F13
def test_consumer_killed_between_commit_and_acknowledgement(stack: Stack) -> None:
    ledger = Ledger.open(stack)
    ledger.commit()
    ledger.check()
    stack.arm("evaluator", ELODROME_FAILPOINT="consumer.after_commit:kill@1")
    armed = stack.identity("evaluator")
    ledger.commit()
    stack.wait_replaced("evaluator", armed)
    ledger.commit()
    ledger.check(within_s=90)


# F14
def test_bus_killed_under_load_and_away_for_a_while(stack: Stack) -> None:
    ledger = Ledger.open(stack)
    before = {name: stack.identity(name) for name in SERVICES}
    broken = stack.identity("nats")
    with _Load(ledger) as load:
        load.until_commits(5)
        # Nobody is there to start it again for a while.
        supervisor = stack.record.supervisor
        supervisor.send(signal.SIGSTOP)
        stack.kill("nats")
        load.keep_on(OUTAGE_S)
        supervisor.send(signal.SIGCONT)
        stack.wait_replaced("nats", broken, within_s=60)
        during = len(ledger.acknowledged)
        load.until_commits(during + 5)
    ledger.check(within_s=RECOVERY_S)
    assert {name: stack.identity(name) for name in SERVICES} == before


# F16
def test_blackholed_bus_holds_nobody_up(new_stack: Callable[..., Stack]) -> None:
    own = new_stack().start()
    with Proxy(own.install.ports["nats"]) as proxy:
        for name in ("registry", "evaluator"):
            own.configure(name, ELODROME_NATS_URL=f"nats://127.0.0.1:{proxy.port}")
        ledger = Ledger.open(own)
        ledger.commit()
        ledger.check()
        before = _resident(own)
        proxy.blackhole()
        with _Load(ledger) as load:
            load.keep_on(BLACKHOLE_S)
        # Who waited for the bus would have waited for all of it.
        assert load.slowest_s < BLACKHOLE_S / 4
        assert len(ledger.acknowledged) > BLACKHOLE_S
        assert ledger.applied() == ledger.acknowledged[:1]
        assert _resident(own) - before < GROWTH_BYTES
        proxy.restore()
        ledger.check(within_s=90)


class _Load:
    """Commits one checkpoint after the other from a thread, and remembers the slowest."""

    def __init__(self, ledger: Ledger) -> None:
        self.slowest_s = 0.0
        self._ledger = ledger
        self._stop = threading.Event()
        self._thread = ThreadPoolExecutor(1)
        self._running: Future[None] | None = None

    def __enter__(self) -> Self:
        self._running = self._thread.submit(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.shutdown()
        if self._running is not None:
            self._running.result()

    def keep_on(self, seconds: float) -> None:
        """Let the load go on for a while."""
        assert not self._stop.wait(seconds), "the load ended early"

    def until_commits(self, count: int) -> None:
        """Return once so many commits are acknowledged in all."""
        deadline = time.monotonic() + 60
        while len(self._ledger.acknowledged) < count:
            assert time.monotonic() < deadline
            self.keep_on(0.05)

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.1):
                begin = time.monotonic()
                self._ledger.commit()
                self.slowest_s = max(self.slowest_s, time.monotonic() - begin)
        finally:
            self._stop.set()


def _resident(stack: Stack) -> int:
    return sum(psutil.Process(stack.identity(name).pid).memory_info().rss for name in SERVICES)
