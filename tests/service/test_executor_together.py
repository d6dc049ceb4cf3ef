"""Learners of one training on a cluster: a pod each, which meet, and which are one attempt."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import TYPE_CHECKING

import pytest

from services.executor.drivers.driver import Fault, Launch, Observation, Phase
from services.executor.drivers.kube_api import KubeApi
from services.executor.drivers.kube_job import Placement
from services.executor.drivers.kubernetes import KubernetesDriver
from tests.learners import SMALL
from tests.waiting import eventually
from trainer.algorithms import opened
from trainer.config import parse
from trainer.offline import OfflineReporter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from tests.cluster.cluster import Cluster
    from tests.cluster.kubelet import Pod

NAME = "0c6f6e52-a1"
JOB = f"elo-{NAME}"
ADDRESS = r"127\.\d+\.\d+\.\d+"
SAYS = 'echo "$RANK of $WORLD_SIZE at $MASTER_ADDR:$MASTER_PORT"'
WAITS = f"trap 'exit 0' TERM; {SAYS}; while :; do sleep 0.05; done"
CONFIG = {
    **SMALL,
    "rollout_steps": 16,
    "batch_size": 64,
    "max_iterations": 4,
    "checkpoint_interval": 4,
}


@pytest.fixture
async def driver(cluster: Cluster, tmp_path: Path) -> AsyncIterator[KubernetesDriver]:
    api = KubeApi(kubeconfig=cluster.kubeconfig(), queries_per_s=1000, connections=16)
    placement = Placement(namespace=cluster.namespace, image="example.org/worker:1")
    driver = KubernetesDriver(api, placement, tmp_path / "jobs")
    following = asyncio.create_task(driver.run())
    yield driver
    following.cancel()


async def start(driver: KubernetesDriver, command: Sequence[str], learners: int = 2) -> None:
    secrets = {"ELODROME_JOB_TOKEN": "secret"}
    surroundings = {"GLOO_SOCKET_IFNAME": "lo"}
    await driver.launch(Launch(NAME, command, surroundings, secrets=secrets, learners=learners))


async def sees(driver: KubernetesDriver, is_wanted: Callable[[Observation], bool]) -> Observation:
    async def arrived() -> Observation | None:
        seen = (await driver.observe([NAME]))[NAME]
        return seen if is_wanted(seen) else None

    return await eventually(arrived, within_s=60)


def exited(seen: Observation) -> bool:
    return seen.phase is Phase.EXITED


def pods(cluster: Cluster) -> list[Pod]:
    [job] = cluster.store.list("jobs")
    return sorted(cluster.pods_of(job), key=lambda pod: pod.index)


def printed(pod: Pod) -> str:
    return b"".join(pod.log(follow=False)).decode()


async def all_wait(cluster: Cluster, count: int) -> list[Pod]:
    await eventually(lambda: len(pods(cluster)) == count)
    await eventually(lambda: all(printed(pod) for pod in pods(cluster)))
    return pods(cluster)


async def test_every_learner_knows_its_rank_and_where_the_first_one_is(
    cluster: Cluster, driver: KubernetesDriver
) -> None:
    await start(driver, ["/bin/sh", "-c", WAITS], learners=3)
    told = [printed(pod) for pod in await all_wait(cluster, 3)]
    [first] = {text.split(" at ")[1] for text in told}
    assert re.fullmatch(rf"{ADDRESS}:29400\n", first)
    [address] = cluster.names.resolve(f"{JOB}-0.{JOB}.{cluster.namespace}.svc") or [""]
    assert first == f"{address}:29400\n"
    assert [text.split(" at ")[0] for text in told] == ["0 of 3", "1 of 3", "2 of 3"]


async def test_the_worker_is_the_first_learner(cluster: Cluster, driver: KubernetesDriver) -> None:
    await start(driver, ["/bin/sh", "-c", f"{SAYS}; exit $((7 * (RANK == 0)))"])
    seen = await sees(driver, exited)
    assert (seen.exit_code, seen.last_words[:6]) == (7, "0 of 2")


async def test_a_learner_that_is_lost_ends_them_all_and_says_why(
    cluster: Cluster, driver: KubernetesDriver
) -> None:
    await start(driver, ["/bin/sh", "-c", WAITS])
    first, second = await all_wait(cluster, 2)
    second.kill_for_memory()
    seen = await sees(driver, exited)
    assert seen.fault is Fault.OUT_OF_MEMORY
    assert first.has_ended.is_set()


async def test_no_learner_outlives_its_attempt(cluster: Cluster, driver: KubernetesDriver) -> None:
    await start(driver, ["/bin/sh", "-c", "trap '' TERM; echo on; while :; do sleep 0.05; done"])
    running = await all_wait(cluster, 2)

    async def is_reaped() -> bool:
        return await driver.reap(NAME)

    await eventually(is_reaped)
    await driver.discard(NAME)
    assert all(pod.has_ended.is_set() for pod in running)
    await eventually(lambda: not cluster.store.list("pods"))
    assert not [x for kind in ("jobs", "secrets", "services") for x in cluster.store.list(kind)]


async def test_learners_in_pods_learn_what_learners_of_one_process_would(
    cluster: Cluster, driver: KubernetesDriver, tmp_path: Path
) -> None:
    together, apart = tmp_path / "together", tmp_path / "apart"
    for directory in (together, apart):
        directory.mkdir()
    reporter = OfflineReporter(together)
    with opened(parse(CONFIG), reporter) as training:
        training.run()
    program = [sys.executable, "-m", "tests.learning.trainee", str(apart), json.dumps(CONFIG)]
    await start(driver, program)
    seen = await sees(driver, exited)
    assert seen.exit_code == 0, seen
    assert seen.last_words == f"done {reporter.digests[4]}"
