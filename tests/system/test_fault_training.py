"""Workers that are killed, paused and doubled: the run ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import grpc
import psutil
import pytest
from elodrome.executor.v1.metric_service_pb2 import AppendRequest
from elodrome.executor.v1.metric_service_pb2_grpc import MetricServiceStub
from elodrome.registry.v1.checkpoint_service_pb2 import ClaimRunRequest, UploadCheckpointRequest
from elodrome.registry.v1.checkpoint_service_pb2_grpc import CheckpointServiceStub

from kit import errors
from tests.system import training
from tests.tokens import Tokens
from tests.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

    from tests.system.stack import Stack

DRIVERS = ("process", "kubernetes")

FENCED = 79


@pytest.fixture(scope="module")
def undisturbed(stack: Stack) -> dict[str, Any]:
    """What the small run amounts to when nothing happens to it."""
    client = stack.admin()
    run_id = training.start(client)
    assert training.settled(client, run_id)["state"] == "COMPLETED"
    found = training.result(client, run_id)
    assert len(found["digests"]) == 6
    assert {"loss", "avg_reward"} <= found["curves"].keys()
    return found


# F01
@pytest.mark.parametrize(
    "failpoint",
    [
        # The fourth of six: the next attempt meets the point three times at most.
        "mid-checkpoint-write:kill@4",
        "after-upload-before-commit:kill@4",
        # Every checkpoint sends what was logged before it, however fast the run is.
        "after-metrics-before-ack:kill@5",
    ],
)
def test_killed_worker_resumes_to_the_same_result(
    stack: Stack, undisturbed: dict[str, Any], failpoint: str
) -> None:
    stack.arm("executor", ELODROME_WORKER_ENVIRONMENT=json.dumps({"ELODROME_FAILPOINT": failpoint}))
    client = stack.admin()
    run_id = training.start(client, max_retries=5)
    # Workers that start from here on live.
    eventually_sync(lambda: len(training.jobs(client, run_id)) > 1, 90)
    stack.restart("executor")
    run = training.settled(client, run_id)
    assert run["state"] == "COMPLETED", run["last_error"]
    assert run["attempt"] >= 2
    assert training.jobs(client, run_id)[0]["state"] in {"FAILED", "LOST"}
    assert training.result(client, run_id) == undisturbed


# F05
def test_paused_worker_is_fenced_and_its_late_writes_are_refused(
    stack: Stack, undisturbed: dict[str, Any]
) -> None:
    client = stack.admin()
    run_id = training.start(client, max_retries=5)
    training.reached(client, run_id, 150)
    sleeper = _worker(stack, run_id, client)
    sleeper.send_signal(signal.SIGSTOP)
    # The progress shown may still be that of the first attempt; one that goes on has claimed.
    eventually_sync(lambda: training.get(client, run_id)["is_resumed"], 60)
    training.reached(client, run_id, 150)
    first = training.jobs(client, run_id)[0]
    assert (first["state"], first["outcome"]) == ("LOST", "LEASE_EXPIRED")
    for write in (_claim, _upload, _append):
        assert _refusal(stack, first, write) == "STALE_EPOCH", write.__name__
    assert not sleeper.is_running() or sleeper.status() == "zombie"
    run = training.settled(client, run_id)
    assert run["state"] == "COMPLETED", run["last_error"]
    assert training.result(client, run_id) == undisturbed


# F04
def test_a_worker_whose_twin_takes_the_lease_ends_the_job_for_both(
    stack: Stack, undisturbed: dict[str, Any]
) -> None:
    client = stack.admin()
    # The twin commits nothing before the executor knows that the first one was fenced.
    failpoint = "before-lease:stop,after-upload-before-commit:stop"
    with _twin(stack, client, failpoint) as (run_id, twin):
        (doubled,) = training.jobs(client, run_id)
        assert doubled["state"] == "RUNNING"
        twin.send_signal(signal.SIGCONT)
        eventually_sync(lambda: len(training.jobs(client, run_id)) == 2, 60)
        _await_halt(twin)
        twin.send_signal(signal.SIGCONT)
        assert twin.wait(60) == FENCED
    _check_only_the_newest_counted(stack, client, run_id, doubled, undisturbed)
    fenced, done = training.jobs(client, run_id)
    assert (fenced["state"], fenced["outcome"], fenced["exit_code"]) == ("LOST", "FENCED", FENCED)
    assert done["state"] == "SUCCEEDED"


# F04
def test_a_twin_that_holds_the_lease_completes_the_job_and_the_first_worker_is_fenced(
    stack: Stack, undisturbed: dict[str, Any]
) -> None:
    client = stack.admin()
    with _twin(stack, client, "before-lease:stop") as (run_id, twin):
        (doubled,) = training.jobs(client, run_id)
        assert doubled["state"] == "RUNNING"
        # The first one notices nothing until the twin is done.
        worker = _worker(stack, run_id, client)
        worker.suspend()
        twin.send_signal(signal.SIGCONT)
        assert twin.wait(120) == 0
        worker.resume()
    _check_only_the_newest_counted(stack, client, run_id, doubled, undisturbed)
    (done,) = training.jobs(client, run_id)
    assert (done["state"], done["outcome"], done["exit_code"]) == ("SUCCEEDED", "COMPLETED", 0)


# F06, F07
@pytest.mark.parametrize("failpoint", ["executor.before_launch", "executor.after_launch"])
def test_executor_killed_around_a_launch_leaves_one_worker(stack: Stack, failpoint: str) -> None:
    client = stack.admin()
    stack.arm("executor", ELODROME_FAILPOINT=f"{failpoint}:kill@1")
    armed = stack.identity("executor")
    run_id = training.start(client)
    stack.wait_replaced("executor", armed)
    training.reached(client, run_id, 20)
    launched = training.jobs(client, run_id)
    assert [job["attempt"] for job in launched] == [1]
    names = [worker.environ().get("ELODROME_JOB") for worker in stack.workers()]
    assert names.count(launched[0]["driver_ref"]) == 1
    client.post(f"/runs/{run_id}/cancel", json={})
    assert training.settled(client, run_id)["state"] == "CANCELLED"


# F10
def test_worker_killed_by_hand_is_replaced_and_the_reason_told(
    stack: Stack, undisturbed: dict[str, Any]
) -> None:
    client = stack.admin()
    run_id = training.start(client, max_retries=1)
    training.reached(client, run_id, 150)
    os.killpg(os.getpgid(_worker(stack, run_id, client).pid), signal.SIGKILL)
    eventually_sync(lambda: len(training.jobs(client, run_id)) == 2, 60)
    lost = training.jobs(client, run_id)[0]
    assert lost["state"] == "LOST"
    assert "killed" in lost["reason"]
    run = training.settled(client, run_id)
    assert run["state"] == "COMPLETED", run["last_error"]
    assert training.result(client, run_id) == undisturbed


def _job_of(worker: psutil.Process) -> str:
    """Return the attempt that a process works on; nothing once it has ended."""
    try:
        return worker.environ().get("ELODROME_JOB", "")
    except psutil.NoSuchProcess:
        return ""


def _worker(stack: Stack, run_id: str, client: httpx.Client) -> psutil.Process:
    """Return the trainer of a run, as soon as there is one."""

    def found() -> psutil.Process | None:
        names = [job["driver_ref"] for job in training.jobs(client, run_id)][-1:]
        workers = (one for one in stack.workers() if _job_of(one) in names)
        return next(workers, None)

    worker = eventually_sync(found)
    assert worker is not None
    return worker


# It has imported all that it needs before there is a run: a short one might be over by then.
_TWIN = """
import json, os, runpy, sys
import trainer.__main__
print("ready", flush=True)
os.environ |= json.loads(sys.stdin.readline())
runpy.run_module("trainer", run_name="__main__", alter_sys=True)
"""


@contextmanager
def _twin(
    stack: Stack, client: httpx.Client, failpoint: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start a run, and a second worker with the credentials of its first.

    Hands both out once the second has halted, while the first one is at work.
    """
    place = stack.home / "twin"
    place.mkdir(exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-c", _TWIN],
        cwd=place,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as twin:
        try:
            assert twin.stdin is not None
            assert twin.stdout is not None
            assert twin.stdout.readline() == "ready\n"
            run_id = training.start(client, max_retries=5)
            variables = _worker(stack, run_id, client).environ()
            # Nobody shall take it for the first one.
            for name in ("ELODROME_JOB", "FAKE_POD"):
                variables.pop(name, None)
            own = {"ELODROME_WORK_DIR": str(place), "ELODROME_FAILPOINT": failpoint}
            twin.stdin.write(json.dumps(variables | own) + "\n")
            twin.stdin.flush()
            training.reached(client, run_id, 20)
            _await_halt(twin)
            yield run_id, twin
        finally:
            twin.kill()


def _await_halt(process: subprocess.Popen[str]) -> None:
    """Return once a process has stopped itself or ended."""
    halted = {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}
    seen = psutil.Process(process.pid)
    eventually_sync(lambda: seen.status() in halted, 60)


def _check_only_the_newest_counted(
    stack: Stack,
    client: httpx.Client,
    run_id: str,
    doubled: dict[str, Any],
    undisturbed: dict[str, Any],
) -> None:
    """Check a run whose job, as it was when `doubled` was read, got a second worker."""
    run = training.settled(client, run_id)
    assert run["state"] == "COMPLETED", run["last_error"]
    states = _states(client, run_id)
    assert [state for state in states if state in training.SETTLED] == ["COMPLETED"]
    eventually_sync(lambda: _told_fenced(client, run_id, doubled), 30)
    for write in (_claim, _upload, _append):
        assert _refusal(stack, doubled, write) == "STALE_EPOCH", write.__name__
    epochs = _checkpoint_epochs(client, run_id)
    assert epochs == sorted(epochs)
    assert len(epochs) == len(undisturbed["digests"])
    assert training.result(client, run_id) == undisturbed


def _told_fenced(client: httpx.Client, run_id: str, job: dict[str, Any]) -> bool:
    """Tell whether the worker that the executor started for a job has said that it was fenced."""
    query = {"attempt": job["attempt"], "page_size": 200, "tail": True}
    lines = client.get(f"/runs/{run_id}/logs", params=query).json()["items"]
    return any("fenced: " in line["text"] for line in lines)


def _states(client: httpx.Client, run_id: str) -> list[str]:
    """Return every state in which a run that has settled was announced, in order."""
    with client.stream("GET", f"/runs/{run_id}/watch") as answer:
        lines = list(answer.iter_lines())
    return [
        json.loads(data.removeprefix("data: "))["state"]
        for event, data in pairwise(lines)
        if event == "event: state"
    ]


def _checkpoint_epochs(client: httpx.Client, run_id: str) -> list[int]:
    """Return the epoch under which each checkpoint was written, in the order of the training."""
    listed = client.get(f"/runs/{run_id}/checkpoints", params={"page_size": 200}).json()["items"]
    return [one["epoch"] for one in sorted(listed, key=lambda one: one["iteration"])]


def _refusal(stack: Stack, job: dict[str, Any], write: Callable[..., None]) -> str:
    """Return the reason for which a write under the lease of an old job is refused."""
    owner_id = stack.rows("executor", "SELECT owner_id FROM runs WHERE id = %s", job["run_id"])[0]
    token = Tokens(stack.home / "keys").worker(
        run_id=job["run_id"],
        job_id=job["id"],
        attempt=job["attempt"],
        epoch=int(job["epoch"]),
        user_id=str(owner_id["owner_id"]),
    )
    with pytest.raises(grpc.RpcError) as raised:
        write(stack, job["run_id"], token)
    return errors.from_call(raised.value).reason


def _claim(stack: Stack, run_id: str, token: list[tuple[str, str]]) -> None:
    with stack.channel("registry") as channel:
        CheckpointServiceStub(channel).ClaimRun(ClaimRunRequest(run_id=run_id), metadata=token)


def _upload(stack: Stack, run_id: str, token: list[tuple[str, str]]) -> None:
    request = UploadCheckpointRequest(run_id=run_id, sha256="0" * 64, size_bytes=1, data=b"x")
    with stack.channel("registry") as channel:
        CheckpointServiceStub(channel).UploadCheckpoint(iter([request]), metadata=token)


def _append(stack: Stack, run_id: str, token: list[tuple[str, str]]) -> None:
    request = AppendRequest(run_id=run_id, sequence=1)
    with stack.channel("executor") as channel:
        MetricServiceStub(channel).Append(iter([request]), metadata=token)
