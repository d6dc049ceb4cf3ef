"""A real Prometheus on a real install: panels have data, rules fire by what goes wrong."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from deploy.laptop.ports import free_port
from tests import prometheus
from tests.system import training
from tests.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from deploy.laptop.process import Identity
    from tests.prometheus import Prometheus
    from tests.system.stack import Stack

# What the tests break on purpose; promtool makes the others fire in the contract ring.
BY_FORCE = {
    "ElodromeServiceDown",
    "ElodromeLoopLag",
    "ElodromeBusAway",
    "ElodromeOutboxStuck",
    "ElodromeDeadLetters",
    "ElodromeQueueOld",
    "ElodromeNotReady",
    "ElodromeLoopSilent",
    "ElodromeErrorRatio",
    "ElodromeRequestsFail",
}
# What panels show, and what the tables say.
NUMBERS = {
    "max(elodrome_artifacts_bytes)": (
        "registry",
        "SELECT coalesce(sum(size_bytes), 0) AS n FROM artifacts",
    ),
    "sum(elodrome_jobs)": ("executor", "SELECT count(*) AS n FROM jobs WHERE end_time IS NULL"),
    'elodrome_outbox_events{component="executor"}': (
        "executor",
        "SELECT count(*) AS n FROM outbox WHERE sent_time IS NULL",
    ),
    "sum(elodrome_evaluations)": (
        "evaluator",
        "SELECT count(*) AS n FROM evaluations WHERE finish_time IS NULL",
    ),
    "max(elodrome_sessions_active)": (
        "sessions",
        "SELECT count(*) AS n FROM sessions WHERE state = 'ACTIVE'",
    ),
}


def missing(server: Prometheus) -> list[prometheus.Query]:
    """Return the queries of panels that yield nothing."""
    return [query for query in prometheus.queries() if not server.ask(query.expr)]


def test_every_panel_has_data_and_its_numbers_are_those_of_the_tables(
    stack: Stack, tmp_path: Path
) -> None:
    port = free_port()
    rules = prometheus.RULES.read_text(encoding="utf-8")
    with prometheus.watching(tmp_path, port, stack.install.ports, rules) as server:
        training.train_and_play(stack.admin())
        eventually_sync(lambda: not missing(server), within_s=60)
        for expr, (service, statement) in NUMBERS.items():

            def agrees(expr: str = expr, service: str = service, of: str = statement) -> bool:
                [row] = stack.rows(service, of)
                return server.value(expr) == float(row["n"])

            # The registry adds up its files once a minute.
            eventually_sync(agrees, within_s=90)
        assert "error expanding" not in str(server.alerts())


class Held:
    """Processes that are stopped until the block ends."""

    def __init__(self, processes: Iterable[Identity]) -> None:
        self._processes = list(processes)

    def __enter__(self) -> None:
        for process in self._processes:
            process.send(signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.send(signal.SIGCONT)


def test_rules_fire_by_what_goes_wrong(new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    own = new_stack(ELODROME_MAX_JOBS="1").start()
    client = own.admin()
    port = free_port()
    rules = prometheus.hurried_rules()
    with prometheus.watching(tmp_path, port, own.install.ports, rules) as server:

        def fires(*names: str) -> None:
            eventually_sync(lambda: set(names) <= server.fired(), within_s=60)

        eventually_sync(lambda: server.value('count(up{job="elodrome"} == 1)') == 5)
        assert server.fired().isdisjoint({"ElodromeServiceDown", "ElodromeNotReady"})
        # One slot, and a run that keeps it.
        for _ in range(2):
            training.start(client, config=training.CATCH)
        fires("ElodromeQueueOld")
        with Held([own.identity("sessions")]):
            fires("ElodromeServiceDown")
        fires("ElodromeLoopLag")
        bury(own)
        fires("ElodromeDeadLetters")
        supervisor = own.record.supervisor
        with Held([supervisor]):
            gone = own.kill("nats")
            training.start(client)
            fires("ElodromeBusAway", "ElodromeOutboxStuck")
        own.wait_replaced("nats", gone)
        with Held([supervisor]):
            own.kill("postgres")

            def fails() -> bool:
                return client.get("/runs").status_code == 503 and server.fired() >= BY_FORCE

            eventually_sync(fails, within_s=60)
        for alert in server.alerts():
            assert "error expanding" not in str(alert), alert
        eventually_sync(lambda: client.get("/runs").is_success, within_s=60)


def bury(stack: Stack) -> None:
    """Put an event aside as a consumer does that cannot apply it."""
    stack.rows(
        "evaluator",
        "INSERT INTO dead_letters (event_id, subject, payload, request_id, error)"
        " VALUES ('1', 'elodrome.registry.v1.VersionCreated.1', '', '', 'cannot') RETURNING 1 AS n",
    )
