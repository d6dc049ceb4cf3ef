"""Matches on a cluster: the pods of agents beside their referee's Job, and what they can reach."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import socket
import zipfile
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from referee.matches import Seat, play
from referee.sandbox.remote import RemoteSandboxes
from referee.sandbox.sandboxes import Limits
from services.executor.drivers import kube_owned, kube_reading
from services.executor.drivers.driver import Launch, Observation, Phase
from services.executor.drivers.kube_api import AwayError, KubeApi
from services.executor.drivers.kube_job import Placement
from services.executor.drivers.kubernetes import KubernetesDriver
from services.executor.states import RunType
from tests import chart
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tests.cluster.cluster import Cluster

NAME = "0c6f6e52-a1"
JOB = f"elo-{NAME}"
MATCH_ID = "6a3c8a7e-52d0-4f5a-9a55-0c6e8e1f2b34"
WAITS = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done"
ECHO = """
import socket
with socket.create_server(("", 7000)) as door:
    connection, _ = door.accept()
    with connection:
        while data := connection.recv(1024):
            connection.sendall(b"heard " + data)
"""
ASKS = """
import os, socket
for agent in os.environ["ELODROME_AGENTS"].split(","):
    host, _, port = agent.partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(agent.encode())
        connection.shutdown(socket.SHUT_WR)
        print(connection.makefile().read(), flush=True)
"""
HOARDS = """
import signal
data = bytearray(700 << 20)
data[::4096] = bytes(len(data) // 4096)
signal.pause()
"""
LOOKS = """
import json, os, socket
def fails(attempt):
    try:
        attempt()
    except OSError as error:
        return type(error).__name__
    return ""
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
open("/tmp/mine", "w").write("x")
print(json.dumps({
    "ids": [os.getuid(), os.getgid()],
    "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
    "new privileges": int(status["NoNewPrivs"]),
    "root": fails(lambda: open("/mine", "w")),
    "code": fails(lambda: open(os.__file__, "w")),
    "too much": fails(lambda: open("/tmp/much", "wb").write(bytes(80 << 20))),
    "processes": [name for name in os.listdir("/proc") if name.isdigit()],
    "network": [name for _, name in socket.if_nameindex()],
    "outside": fails(lambda: socket.create_connection(("127.0.0.1", OUT), 1)),
    "names": fails(lambda: socket.getaddrinfo("executor.elodrome.svc", 50052)),
    "host": socket.gethostname(),
    "environment": sorted(os.environ),
}), flush=True)
"""


def an_api(kubeconfig: Path) -> KubeApi:
    return KubeApi(kubeconfig=kubeconfig, queries_per_s=1000, connections=16)


class CutOff(KubeApi):
    """An API server that is away once it has created some objects."""

    def __init__(self, cluster: Cluster, objects: int) -> None:
        super().__init__(kubeconfig=cluster.kubeconfig(), queries_per_s=1000, connections=16)
        self._left = objects

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if not self._left:
            raise AwayError("cut off")
        self._left -= 1
        return super().create(path, body)


@asynccontextmanager
async def a_driver(
    cluster: Cluster, home: Path, api: KubeApi | None = None, **fields: Any
) -> AsyncIterator[KubernetesDriver]:
    api = api or an_api(cluster.kubeconfig())
    placement = Placement(
        namespace=cluster.namespace, image="example.org/worker:1", match_runtime_class="gvisor"
    )
    driver = KubernetesDriver(api, replace(placement, **fields), home / "jobs")
    following = asyncio.create_task(driver.run())
    yield driver
    following.cancel()


def python(program: str) -> list[str]:
    return ["python", "-c", program]


def a_launch(command: Sequence[str] = ("/bin/sh", "-c", WAITS), **fields: Any) -> Launch:
    about = {"kind": RunType.MATCH, "seats": 2, "subject_id": MATCH_ID}
    secrets = {"ELODROME_JOB_TOKEN": "the token"}
    return Launch(NAME, list(command), {}, **{"secrets": secrets} | about | fields)


async def exits(driver: KubernetesDriver) -> Observation:
    async def seen() -> Observation | None:
        found = (await driver.observe([NAME]))[NAME]
        return found if found.phase is Phase.EXITED else None

    return await eventually(seen, within_s=30)


async def reaped(driver: KubernetesDriver) -> None:
    await eventually(lambda: driver.reap(NAME), within_s=30)


def agents(cluster: Cluster) -> list[str]:
    found = cluster.store.list("pods", {"elo/agent-of": NAME})
    return sorted(pod["metadata"]["name"] for pod in found)


async def agents_run(cluster: Cluster) -> None:
    def do_run() -> bool:
        found = cluster.store.list("pods", {"elo/role": "agent"})
        phases = [pod.get("status", {}).get("phase") for pod in found]
        return phases == ["Running", "Running"]

    await eventually(do_run, within_s=30)


async def ends(cluster: Cluster, pod: str) -> dict[str, Any]:
    def has_ended() -> bool:
        return pod in cluster._pods and cluster.pod(pod).has_ended.is_set()

    await eventually(has_ended, within_s=30)
    return cluster.store.get("pods", pod)["status"]


def agent_that_plays(end: int) -> bytes:
    """Return the archive of an agent that always plays the first, 0, or last, -1, legal action."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        packed.writestr("agent.py", f"def act(seen):\n    return seen['legal_actions'][{end}]\n")
    return content.getvalue()


def printed(cluster: Cluster, pod: str) -> str:
    return b"".join(cluster.pod(pod).log(follow=False)).decode()


BOTH = [f"{JOB}-agent-0", f"{JOB}-agent-1"]


@pytest.mark.parametrize("seats", [1, 2])
async def test_a_referee_speaks_with_the_agent_of_each_seat(
    cluster: Cluster, tmp_path: Path, seats: int
) -> None:
    pods = BOTH[:seats]
    async with a_driver(cluster, tmp_path, agent_command=python(ECHO)) as driver:
        await driver.launch(a_launch(python(ASKS), seats=seats))
        [job] = cluster.store.list("jobs", {"elo/match": MATCH_ID})
        assert (job["metadata"]["name"], agents(cluster)) == (JOB, pods)
        name = f"agent-{seats - 1}.{JOB}.{cluster.namespace}.svc"
        [address] = await eventually(lambda: cluster.names.resolve(name))
        assert (await exits(driver)).exit_code == 0
        words = (await driver.read_log(NAME, 0, 1 << 16)).decode()
        assert words.count("heard 127.") == seats
        assert f"heard {address}:7000\n" in words
        # They are not taken for the worker, which has ended by itself.
        await eventually(lambda: all(cluster.pod(pod).exit_code == 0 for pod in pods))


async def test_a_match_is_played_by_code_in_pods(cluster: Cluster, tmp_path: Path) -> None:
    async with a_driver(cluster, tmp_path) as driver:
        await driver.launch(a_launch())
        await agents_run(cluster)
        names = [f"agent-{seat}.{JOB}.{cluster.namespace}.svc" for seat in (0, 1)]
        found = [cluster.names.resolve(name) or [""] for name in names]
        places = RemoteSandboxes([f"{address}:7000" for [address] in found])
        seats = [Seat(f"agent {end}", agent_that_plays(end)) for end in (0, -1)]
        result = await asyncio.to_thread(
            play,
            "connect_four",
            seats,
            seed=3,
            limits=Limits(),
            sandboxes=places,
            on_step=lambda _: True,
        )
        # Four in the leftmost column, before the other has four in the rightmost.
        assert (result.winner, result.steps, result.void) == (0, 7, "")
        await eventually(lambda: all(cluster.pod(pod).has_ended.is_set() for pod in BOTH))


async def test_an_agent_finds_nothing_and_nobody(cluster: Cluster, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        program = LOOKS.replace("OUT", str(door.getsockname()[1]))
        async with a_driver(cluster, tmp_path, agent_command=python(program)) as driver:
            await driver.launch(a_launch(seats=1))
            pod = f"{JOB}-agent-0"
            await ends(cluster, pod)
            assert cluster.pod(pod).exit_code == 0, printed(cluster, pod)
            found = json.loads(printed(cluster, pod))
    brought = {
        "LANG",
        "PATH",
        "PWD",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPATH",
        "PYTHONUNBUFFERED",
        "TZ",
    }
    assert set(found.pop("environment")) <= brought
    assert found == {
        "ids": [10001, 10001],
        "capabilities": 0,
        "new privileges": 1,
        "root": "OSError",
        "code": "OSError",
        "too much": "OSError",
        "processes": ["1"],
        "network": ["lo"],
        "outside": "ConnectionRefusedError",
        "names": "gaierror",
        "host": "agent-0",
    }


async def test_agents_are_gone_with_their_attempt_before_its_job_is(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with a_driver(cluster, tmp_path, agent_command=["/bin/sh", "-c", WAITS]) as driver:
        await driver.launch(a_launch(["/bin/sh", "-c", "exit 3"]))
        await agents_run(cluster)
        assert (await exits(driver)).exit_code == 3
        await reaped(driver)
        await eventually(lambda: not agents(cluster), within_s=30)
        assert cluster.store.get("jobs", JOB)
        # An attempt that is over gets no new ones.
        await driver.launch(a_launch(["/bin/sh", "-c", "exit 3"]))
        assert not agents(cluster)
        await driver.discard(NAME)
        for kind in ("jobs", "secrets", "services"):
            assert not cluster.store.list(kind)


async def test_agents_are_gone_with_a_job_that_somebody_deletes(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with a_driver(cluster, tmp_path, agent_command=["/bin/sh", "-c", WAITS]) as driver:
        await driver.launch(a_launch())
        await agents_run(cluster)
        cluster.delete("jobs", JOB, {})
        await eventually(lambda: not cluster.store.list("pods"), within_s=30)


async def test_a_stopped_match_ends_everywhere(cluster: Cluster, tmp_path: Path) -> None:
    fields = {"agent_command": ["/bin/sh", "-c", WAITS], "queue": "team-a"}
    async with a_driver(cluster, tmp_path, **fields) as driver:
        await driver.launch(a_launch())
        await agents_run(cluster)
        await eventually(lambda: b"ready" in b"".join(cluster.pod_of(JOB).log(follow=False)))
        # Although others queue: a match does not.
        await driver.terminate(NAME)
        assert (await exits(driver)).exit_code == 0
        await reaped(driver)
        await eventually(lambda: not cluster.store.list("pods", {"elo/role": "agent"}))


async def test_a_launch_that_is_cut_off_at_any_step_is_completed_by_the_next(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Job, Service, an agent, another, Secret: as if the executor were killed before each."""
    waiting = {"agent_command": ["/bin/sh", "-c", WAITS]}
    launches = [replace(a_launch(), name=f"step-{step}-a1") for step in range(5)]
    for step, launch in enumerate(launches):
        api = CutOff(cluster, step)
        async with a_driver(cluster, tmp_path / str(step), api, **waiting) as driver:
            await driver.launch(launch)
    assert not cluster.store.list("secrets")
    assert len(cluster.store.list("jobs")) == len(launches) - 1

    names = [launch.name for launch in launches]
    async with a_driver(cluster, tmp_path / "heir", **waiting) as heir:
        for launch in launches:
            await heir.launch(launch)

        async def are_at_work() -> bool:
            seen = await heir.observe(names)
            return {each.phase for each in seen.values()} == {Phase.RUNNING}

        await eventually(are_at_work, within_s=30)
        for name in names:
            assert len(cluster.store.list("pods", {"elo/agent-of": name})) == 2
            assert cluster.store.get("services", f"elo-{name}")
        assert len(cluster.store.list("jobs")) == len(launches)


async def test_a_cluster_that_goes_away_leaves_nothing_half_done(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with a_driver(cluster, tmp_path, agent_command=["/bin/sh", "-c", WAITS]) as driver:
        await driver.launch(a_launch())
        await agents_run(cluster)
        cluster.api.go_down()
        assert not await driver.reap(NAME)
        assert agents(cluster) == BOTH
        cluster.api.come_back()
        await reaped(driver)
        await eventually(lambda: not agents(cluster), within_s=30)


async def test_an_agent_that_takes_more_memory_than_its_limit_is_killed(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with a_driver(cluster, tmp_path, agent_command=python(HOARDS)) as driver:
        await driver.launch(a_launch(seats=1))
        [status] = (await ends(cluster, BOTH[0]))["containerStatuses"]
        assert status["state"]["terminated"]["reason"] == "OOMKilled"


async def test_an_agent_that_nobody_comes_for_ends_at_its_deadline(cluster: Cluster) -> None:
    [pod, _] = kube_owned.agents(
        a_launch(),
        Placement("workloads", "example.org/worker:1", match_runtime_class="gvisor"),
        {"metadata": {"name": JOB, "uid": "the uid"}},
    )
    pod["spec"]["activeDeadlineSeconds"] = 1
    pod["spec"]["containers"][0]["command"] = ["/bin/sh", "-c", WAITS]
    cluster.store.create("pods", pod)
    status = await ends(cluster, BOTH[0])
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")


async def test_the_rights_and_the_edges_of_the_chart_are_enough(
    cluster: Cluster, tmp_path: Path
) -> None:
    kinds = {"Role": "roles", "RoleBinding": "rolebindings", "NetworkPolicy": "networkpolicies"}
    for found in copy.deepcopy(chart.objects("production")):
        metadata = found["metadata"]
        if found["kind"] in kinds and metadata["namespace"] == chart.WORKLOADS:
            metadata["namespace"] = cluster.namespace
            cluster.store.create(kinds[found["kind"]], found)
    account = cluster.kubeconfig(chart.NAMESPACE, "elodrome-executor")
    async with a_driver(cluster, tmp_path, an_api(account), agent_command=python(ECHO)) as driver:
        await driver.launch(a_launch(python(ASKS)))
        assert (await exits(driver)).exit_code == 0
        await reaped(driver)
        await eventually(lambda: not agents(cluster), within_s=30)


async def test_calls_are_no_more_for_an_attempt_without_agents(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with a_driver(cluster, tmp_path) as driver:
        await driver.launch(Launch(NAME, ["/bin/sh", "-c", "exit 0"], {}))
        await exits(driver)

        def is_over() -> bool:
            job = driver._jobs.get(NAME)
            return job is not None and kube_reading.is_finished(job.object)

        await eventually(is_over)
        before = len(cluster.api.requests)
        await reaped(driver)
        assert len(cluster.api.requests) == before
