"""The Kubernetes driver against a cluster whose containers are processes of this machine."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY

from services.executor.drivers.driver import Fault, Launch, Observation, Phase
from services.executor.drivers.kube_api import AwayError, KubeApi
from services.executor.drivers.kube_job import Placement
from services.executor.drivers.kubernetes import KubernetesDriver
from tests.cluster.store import StatusError
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.cluster.cluster import Cluster

IMAGE = "example.org/worker:1"
NAME = "0c6f6e52-a1"
JOB = f"elo-{NAME}"
WAITS = "trap 'echo saving; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.05; done"


@asynccontextmanager
async def a_driver(cluster: Cluster, home: Path, **fields: Any) -> AsyncIterator[KubernetesDriver]:
    api = KubeApi(kubeconfig=cluster.kubeconfig(), queries_per_s=1000, connections=16)
    placement = Placement(namespace=cluster.namespace, image=IMAGE, **fields)
    driver = KubernetesDriver(api, placement, home / "jobs")
    following = asyncio.create_task(driver.run())
    yield driver
    following.cancel()


@pytest.fixture
async def driver(cluster: Cluster, tmp_path: Path) -> AsyncIterator[KubernetesDriver]:
    async with a_driver(cluster, tmp_path) as running:
        yield running


def a_launch(script: str, **fields: Any) -> Launch:
    secrets = {"ELODROME_JOB_TOKEN": "first"}
    return Launch(NAME, ["/bin/sh", "-c", script], {}, **{"secrets": secrets} | fields)


async def look(driver: KubernetesDriver) -> Observation:
    return (await driver.observe([NAME]))[NAME]


async def sees(driver: KubernetesDriver, is_wanted: Callable[[Observation], bool]) -> Observation:
    async def arrived() -> Observation | None:
        seen = await look(driver)
        return seen if is_wanted(seen) else None

    return await eventually(arrived, within_s=20)


async def exits(driver: KubernetesDriver) -> Observation:
    return await sees(driver, lambda seen: seen.phase is Phase.EXITED)


async def log_holds(driver: KubernetesDriver, words: bytes) -> bytes:
    async def arrived() -> bytes:
        log = await driver.read_log(NAME, 0, 1 << 20)
        return log if words in log else b""

    return await eventually(arrived, within_s=20)


async def starts(driver: KubernetesDriver, script: str, **fields: Any) -> None:
    await driver.launch(a_launch(script, **fields))
    await sees(driver, lambda seen: seen.phase is Phase.RUNNING)
    await log_holds(driver, b"ready")


async def test_launching_an_attempt_twice_makes_one_job(
    cluster: Cluster, driver: KubernetesDriver, tmp_path: Path
) -> None:
    launch = a_launch(f"echo started >> {tmp_path}/starts; exit 7")
    await asyncio.gather(*[driver.launch(launch) for _ in range(5)])
    assert (await exits(driver)).exit_code == 7
    assert len(cluster.store.list("jobs")) == 1
    await driver.launch(launch)
    assert (await exits(driver)).exit_code == 7
    assert (tmp_path / "starts").read_text() == "started\n"


async def test_another_driver_adopts_what_runs(
    cluster: Cluster, driver: KubernetesDriver, tmp_path: Path
) -> None:
    await starts(driver, WAITS)
    async with a_driver(cluster, tmp_path / "heir") as heir:
        await sees(heir, lambda seen: seen.phase is Phase.RUNNING)
        await heir.launch(a_launch(WAITS))
        assert len(cluster.store.list("pods")) == 1
        assert await log_holds(heir, b"ready")
        await heir.terminate(NAME)
        assert (await exits(heir)).exit_code == 0


async def test_a_job_of_somebody_else_is_not_adopted(
    cluster: Cluster, driver: KubernetesDriver
) -> None:
    await driver.launch(a_launch("exit 0"))
    cluster.store.update("jobs", JOB, lambda job: job["metadata"].pop("labels"))
    with pytest.raises(OSError, match="belongs to somebody else"):
        await driver.launch(a_launch("exit 0"))


async def test_what_cannot_be_a_job_is_refused(driver: KubernetesDriver) -> None:
    with pytest.raises(OSError, match="label elo/owner"):
        await driver.launch(a_launch("exit 0", owner_id="some body"))


async def test_the_token_reaches_the_worker_through_a_secret_of_the_job(
    cluster: Cluster, driver: KubernetesDriver
) -> None:
    cluster.holds_pods = True
    await driver.launch(a_launch("echo token $ELODROME_JOB_TOKEN $ELODROME_JOB"))
    await driver.launch(a_launch("exit 0", secrets={"ELODROME_JOB_TOKEN": "second"}))
    assert (await look(driver)).phase is Phase.WAITING
    cluster.holds_pods = False
    await exits(driver)
    # A worker that waited for its place gets the newest.
    assert await driver.read_log(NAME, 0, 100) == f"token second {NAME}\n".encode()
    assert "second" not in json.dumps(cluster.store.list("jobs") + cluster.store.list("pods"))
    await driver.discard(NAME)
    assert not cluster.store.list("jobs")
    assert not cluster.store.list("secrets")


async def test_a_launch_that_was_cut_off_before_the_secret_is_done_again(
    cluster: Cluster, driver: KubernetesDriver
) -> None:
    launch = a_launch("exit 3")
    await driver.launch(launch)
    cluster.store.remove("secrets", JOB)
    seen = await sees(driver, lambda seen: seen.phase in (Phase.ABSENT, Phase.EXITED))
    if seen.phase is Phase.ABSENT:
        await driver.launch(launch)
    assert (await exits(driver)).exit_code == 3


async def test_a_job_that_is_heard_of_before_its_pod_has_the_exit_code_of_the_pod(
    cluster: Cluster, driver: KubernetesDriver
) -> None:
    await driver.launch(a_launch("exit 3"))
    await exits(driver)
    driver._pods.forget(NAME)
    assert (await exits(driver)).exit_code == 3


async def test_a_log_is_read_from_an_offset_and_outlives_its_pod(
    cluster: Cluster, driver: KubernetesDriver
) -> None:
    await driver.launch(a_launch("echo one; echo two; echo three >&2; exit 1"))
    assert (await exits(driver)).last_words == "three"
    cluster.store.remove("pods", cluster.pod_of(JOB).name)
    assert await driver.read_log(NAME, 4, 4) == b"two\n"
    assert await driver.read_log(NAME, 8, 100) == b"three\n"
    assert await driver.read_log(NAME, 14, 100) == b""
    assert await eventually(lambda: driver.reap(NAME))
    assert await driver.read_log(NAME, 0, 100) == b"one\ntwo\nthree\n"
    await driver.discard(NAME)
    assert await driver.read_log(NAME, 0, 100) == b""
    await driver.discard(NAME)


async def test_terminate_lets_the_worker_save_and_starts_none_in_its_place(
    cluster: Cluster, driver: KubernetesDriver
) -> None:
    await starts(driver, WAITS)
    await driver.terminate(NAME)
    seen = await exits(driver)
    assert (seen.exit_code, seen.fault, seen.last_words) == (0, None, "saving")
    assert await eventually(lambda: driver.reap(NAME))
    assert await driver.read_log(NAME, 0, 100) == b"ready\nsaving\n"
    assert len({pod.name for pod in cluster._pods.values()}) == 1


async def test_reap_kills_what_does_not_end(cluster: Cluster, driver: KubernetesDriver) -> None:
    await starts(driver, STUBBORN)
    await driver.terminate(NAME)
    assert await eventually(lambda: driver.reap(NAME))
    assert cluster.pod_of(JOB).exit_code == 137
    assert not cluster.store.list("pods")


async def test_an_eviction_says_by_whom(cluster: Cluster, driver: KubernetesDriver) -> None:
    await starts(driver, WAITS)
    words = "preempting to accommodate a higher priority pod"
    cluster.evict(JOB, "PreemptionByScheduler", words)
    seen = await exits(driver)
    assert (seen.exit_code, seen.fault) == (0, Fault.EVICTED)
    assert seen.detail == f"PreemptionByScheduler: {words}"
    assert len(cluster._pods) == 1


async def test_a_lost_node_is_an_eviction_that_leaves_nothing_to_wait_for(
    cluster: Cluster, driver: KubernetesDriver
) -> None:
    await starts(driver, WAITS)
    cluster.lose_node(JOB)
    seen = await sees(driver, lambda seen: seen.fault is Fault.EVICTED)
    assert seen.phase is Phase.RUNNING
    assert not await driver.reap(NAME)
    cluster.store.remove("pods", cluster.pod_of(JOB).name)
    assert (await exits(driver)).fault is Fault.EVICTED
    assert await eventually(lambda: driver.reap(NAME))


async def test_a_lack_of_memory_is_told(cluster: Cluster, driver: KubernetesDriver) -> None:
    await starts(driver, WAITS)
    cluster.run_out_of_memory(JOB)
    seen = await exits(driver)
    assert (seen.exit_code, seen.fault) == (137, Fault.OUT_OF_MEMORY)


async def test_a_crash_is_told_by_the_last_words(driver: KubernetesDriver) -> None:
    await driver.launch(a_launch("echo 'ValueError: no'; exit 1"))
    seen = await exits(driver)
    assert (seen.exit_code, seen.fault, seen.last_words) == (1, None, "ValueError: no")


async def test_the_deadline_of_the_job_is_told(cluster: Cluster, driver: KubernetesDriver) -> None:
    await starts(driver, WAITS)
    cluster.store.update("jobs", JOB, lambda job: job["spec"].update(activeDeadlineSeconds=0))
    seen = await sees(driver, lambda seen: seen.fault is Fault.DEADLINE)
    assert seen.phase is Phase.EXITED


async def test_an_image_that_is_not_there_is_told(
    cluster: Cluster, driver: KubernetesDriver
) -> None:
    cluster.broken_images.add(IMAGE)
    await driver.launch(a_launch("exit 0"))
    seen = await sees(driver, lambda seen: seen.fault is Fault.IMAGE_PULL)
    assert seen.phase is Phase.WAITING
    assert IMAGE in seen.detail
    cluster.broken_images.clear()
    assert (await exits(driver)).exit_code == 0


async def test_a_job_deleted_by_hand_leaves_nothing(
    cluster: Cluster, driver: KubernetesDriver
) -> None:
    await starts(driver, WAITS)
    cluster.delete("jobs", JOB, {})
    await exits(driver)
    assert await eventually(lambda: driver.reap(NAME))


async def test_changes_that_were_missed_are_found_by_listing_again(
    cluster: Cluster, driver: KubernetesDriver
) -> None:
    await starts(driver, WAITS)
    with cluster.store.lock:
        cluster.store.forget_changes()
    await driver.terminate(NAME)
    assert (await exits(driver)).exit_code == 0


async def test_a_cluster_that_is_away_is_told(cluster: Cluster, driver: KubernetesDriver) -> None:
    def away_s() -> float | None:
        return REGISTRY.get_sample_value(
            "elodrome_divergence_oldest_seconds", {"loop": "cluster pods"}
        )

    async def is_well() -> bool:
        try:
            await driver.check()
        except AwayError:
            return False
        return True

    async def is_away() -> bool:
        return not await is_well()

    await eventually(is_well)
    assert away_s() == 0
    cluster.api.go_down()
    await eventually(is_away)
    assert away_s() != 0
    cluster.api.come_back()
    await eventually(is_well)


async def test_a_connection_that_was_closed_meanwhile_costs_nothing(
    cluster: Cluster, driver: KubernetesDriver
) -> None:
    cluster.api.cuts = 2
    await driver.launch(a_launch("exit 0"))
    assert cluster.api.cuts == 0
    assert cluster.store.get("jobs", JOB)


async def test_old_events_and_bad_objects_change_nothing(
    cluster: Cluster, driver: KubernetesDriver
) -> None:
    await driver.launch(a_launch("exit 5"))
    await exits(driver)
    first = next(change for change in cluster.store.changes if change.resource == "pods")
    for kind in ("MODIFIED", "ADDED", "DELETED"):
        cluster.store.tell("pods", kind, first.item)
    for nonsense in (None, 7, {}, {"metadata": {"labels": 3, "resourceVersion": "x"}}):
        cluster.store.tell("pods", "MODIFIED", nonsense)
        cluster.store.tell("jobs", "ADDED", nonsense)
    odd = {"metadata": {"name": "odd", "namespace": "workloads"}, "status": "odd"}
    cluster.store.tell("pods", "ADDED", odd | {"apiVersion": "v1", "kind": "Pod"})
    other = Launch("other-a1", ["/bin/sh", "-c", "exit 6"], {})
    await driver.launch(other)

    async def has_exited() -> bool:
        return (await driver.observe(["other-a1"]))["other-a1"].exit_code == 6

    await eventually(has_exited)
    assert (await look(driver)).exit_code == 5


async def test_a_job_in_a_queue_is_ended_through_its_workload(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Kueue starts what it admits, whatever else the Job says."""
    async with a_driver(cluster, tmp_path, queue="team-a") as driver:
        await driver.launch(a_launch(WAITS))
        assert (await look(driver)).phase is Phase.WAITING
        uid = cluster.store.get("jobs", JOB)["metadata"]["uid"]
        labels = {"kueue.x-k8s.io/job-uid": uid}
        head = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "Workload"}
        metadata = {"name": "job-of-kueue", "namespace": cluster.namespace, "labels": labels}
        workload = {**head, "metadata": metadata, "spec": {"queueName": "team-a", "active": True}}
        cluster.store.create("workloads", workload)

        cluster.store.update("jobs", JOB, lambda job: job["spec"].update(suspend=False))
        await log_holds(driver, b"ready")
        await driver.terminate(NAME)
        assert not cluster.store.get("workloads", "job-of-kueue")["spec"]["active"]
        assert not cluster.store.get("jobs", JOB)["spec"]["suspend"]

        cluster.store.update("jobs", JOB, lambda job: job["spec"].update(suspend=True))
        await log_holds(driver, b"saving")


async def test_a_cluster_that_does_not_answer_ends_nothing(
    cluster: Cluster, driver: KubernetesDriver, tmp_path: Path
) -> None:
    await starts(driver, WAITS)
    cluster.api.go_down()
    other = Launch("other-a1", ["/bin/sh", "-c", "exit 0"], {})
    await driver.launch(other)
    await driver.terminate(NAME)
    assert not await driver.reap(NAME)
    seen = await driver.observe([NAME, "other-a1"])
    assert [seen[name].phase for name in (NAME, "other-a1")] == [Phase.RUNNING, Phase.ABSENT]
    async with a_driver(cluster, tmp_path / "heir") as heir:
        # Nothing was heard yet, so nothing may be taken for gone.
        assert (await look(heir)).phase is Phase.WAITING
        cluster.api.come_back()
        await sees(heir, lambda seen: seen.phase is Phase.RUNNING)
    await driver.terminate(NAME)
    assert (await exits(driver)).exit_code == 0
    assert b"saving" in await driver.read_log(NAME, 0, 100)


async def test_what_does_not_fit_the_schema_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    async with a_driver(cluster, tmp_path, image_pull_secrets=[7]) as driver:
        with pytest.raises(OSError, match="imagePullSecrets"):
            await driver.launch(a_launch("exit 0"))


def test_the_rate_of_calls_stays_below_its_setting(cluster: Cluster) -> None:
    api = KubeApi(kubeconfig=cluster.kubeconfig(), queries_per_s=50, connections=4)
    path = f"/api/v1/namespaces/{cluster.namespace}/pods"
    for _ in range(80):
        api.get(path)
    times = cluster.api.requests
    # A second's worth may come at once; the thirty after that take their turn.
    assert times[-1] - times[0] > 29 / 50
    with pytest.raises(StatusError):
        cluster.store.get("pods", "none")
