"""What a cluster may do to a run on it, by way of the chart: the run survives."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.system import training
from tests.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cluster.kubelet import Pod
    from tests.system.platform import Platform

LONG = {**training.SMALL, "max_iterations": 100_000, "checkpoint_interval": 40}
_AWAY_S = 60


def worker(platform: Platform) -> Pod:
    return eventually_sync(lambda: platform.pods("trainer"))[0]


def read(client: httpx.Client, run_id: str) -> dict[str, Any]:
    """Return a run, however often it has to be asked for: an executor that hangs answers late."""

    def answer() -> dict[str, Any] | None:
        try:
            found = client.get(f"/runs/{run_id}", timeout=15)
        except httpx.TransportError:
            return None
        return found.json() if found.status_code == 200 else None

    return dict(eventually_sync(answer, 90) or {})


def goes_on(client: httpx.Client, run_id: str, attempt: int, within_s: float = 90) -> int:
    """Return the attempt, this one or a later one, once the run has gone on in it."""

    def is_at_work() -> dict[str, Any] | None:
        run = read(client, run_id)
        assert run["state"] not in training.SETTLED, run["last_error"]
        return run if run["state"] == "RUNNING" and run["attempt"] >= attempt else None

    before = eventually_sync(is_at_work, within_s)["progress"]["step"]
    eventually_sync(lambda: read(client, run_id)["progress"]["step"] > before, within_s)
    return int(read(client, run_id)["attempt"])


# F08, F10, F30
@pytest.mark.timeout(480)
def test_a_run_outlives_what_happens_to_its_pod_its_executors_and_the_api_server(
    new_platform: Callable[..., Platform],
) -> None:
    platform = new_platform(executor={"replicas": 2})
    platform.install()
    client, cluster = platform.admin(), platform.cluster
    run_id = training.start(client, config=LONG, max_retries=10)
    assert goes_on(client, run_id, 1) == 1

    cluster.delete("pods", worker(platform).name, {})
    assert goes_on(client, run_id, 2) == 2
    cluster.lose_node(worker(platform).owner)
    assert goes_on(client, run_id, 3) == 3
    cluster.delete("jobs", worker(platform).owner, {})
    assert goes_on(client, run_id, 4) == 4

    # Two executors, and neither leads: one that is away takes nothing with it, and what it does
    # when it is back counts for nothing where the other one has gone on.
    asleep, awake = platform.pods("executor")
    asleep.process.send_signal(signal.SIGSTOP)
    cluster.delete("pods", worker(platform).name, {"gracePeriodSeconds": 0})
    at_work = goes_on(client, run_id, 5)
    asleep.process.send_signal(signal.SIGCONT)
    awake.kill()
    assert goes_on(client, run_id, at_work) == at_work

    cluster.api.go_down()
    until_s = time.monotonic() + _AWAY_S
    eventually_sync(
        lambda: goes_on(client, run_id, at_work) and time.monotonic() > until_s, 2 * _AWAY_S
    )
    cluster.api.come_back()
    assert goes_on(client, run_id, at_work) == at_work

    client.post(f"/runs/{run_id}/stop", json={}).raise_for_status()
    assert training.settled(client, run_id)["state"] == "STOPPED"
    jobs = training.jobs(client, run_id)
    assert [job["attempt"] for job in jobs] == list(range(1, at_work + 1))
    assert all(job["reason"] for job in jobs)
    eventually_sync(lambda: not platform.jobs())
