"""A worker that speaks the lease protocol and does as `WORKER_PLAN` says, one word per attempt."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import grpc
from elodrome.executor.v1 import (
    lease_service_pb2,
    lease_service_pb2_grpc,
    metric_pb2,
    metric_service_pb2,
    metric_service_pb2_grpc,
    run_pb2,
)

if TYPE_CHECKING:
    from collections.abc import Callable

say = functools.partial(print, flush=True)
asked_to_end = threading.Event()


def patiently(call: Callable[..., Any], request: Callable[[], Any], worker: Worker) -> Any:
    """Call until the executor answers; it may be away for a moment."""
    while True:
        try:
            return call(request(), metadata=worker.metadata, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise


class Worker:
    """The protocol; the plans below say when to do what."""

    def __init__(self) -> None:
        channel = grpc.insecure_channel(os.environ["ELODROME_EXECUTOR_ADDRESS"])
        self.leases = lease_service_pb2_grpc.LeaseServiceStub(channel)
        self.metrics = metric_service_pb2_grpc.MetricServiceStub(channel)
        self.token = os.environ["ELODROME_JOB_TOKEN"]
        self.lease = self.leases.AcquireLease(
            lease_service_pb2.AcquireLeaseRequest(), metadata=self.metadata, wait_for_ready=True
        )
        self.token = self.lease.lease_token
        self.step = self.lease.run.latest_checkpoint.step
        self.sequence = 0
        self.cpu_s = 0.0

    @property
    def metadata(self) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self.token}")]

    def heartbeat(self, **fields: object) -> int:
        request = lease_service_pb2.HeartbeatRequest(
            current_iteration=self.step,
            max_iterations=100,
            step=self.step,
            cpu_s=self.cpu_s,
            **fields,
        )
        answer = patiently(self.leases.Heartbeat, lambda: request, self)
        self.token = answer.lease_token
        return answer.action

    def resume(self) -> None:
        if self.lease.run.HasField("latest_checkpoint"):
            self.heartbeat(resumed_from=self.lease.run.latest_checkpoint)

    def work(self) -> int:
        self.step += 1
        self.sequence += 1
        self.cpu_s += 1.5
        series = [metric_pb2.Series(name="loss", steps=[self.step], values=[1 / self.step])]
        batch = metric_service_pb2.AppendRequest(sequence=self.sequence, series=series)
        patiently(self.metrics.Append, lambda: iter([batch]), self)
        say(f"attempt {self.lease.job.attempt} step {self.step}")
        return self.heartbeat()

    def save(self) -> None:
        checkpoint = run_pb2.CheckpointRef(
            checkpoint_id=str(uuid.uuid4()), iteration=self.step, step=self.step
        )
        self.heartbeat(checkpoint=checkpoint)

    def report(self, outcome: int, reason: str = "", code: int = 0) -> None:
        request = lease_service_pb2.ReportOutcomeRequest(
            outcome=outcome, reason=reason, exit_code=code
        )
        patiently(self.leases.ReportOutcome, lambda: request, self)
        sys.exit(code)


def complete(worker: Worker) -> None:
    while worker.step < 3:
        worker.work()
    worker.save()
    worker.report(run_pb2.JOB_OUTCOME_COMPLETED)


def quiet_success(worker: Worker) -> None:
    worker.work()


def crash(worker: Worker) -> None:
    worker.work()
    raise RuntimeError("the sky fell")


def refuse(worker: Worker) -> None:
    worker.report(run_pb2.JOB_OUTCOME_USER_ERROR, "gamma: must be less than 1", 64)


def diverge(worker: Worker) -> None:
    worker.work()
    worker.report(run_pb2.JOB_OUTCOME_DIVERGED, "loss is nan at step 1", 66)


def reach_target(worker: Worker) -> None:
    worker.work()
    worker.save()
    worker.report(run_pb2.JOB_OUTCOME_TARGET_REACHED, "eval_return 76 has reached 75 at step 1")


def work_on(worker: Worker) -> None:
    worker.resume()
    while worker.work() == lease_service_pb2.LEASE_ACTION_CONTINUE and not asked_to_end.is_set():
        time.sleep(0.05)
    worker.save()
    worker.report(run_pb2.JOB_OUTCOME_REQUESTED)


def stubborn(worker: Worker) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    while True:
        worker.work()
        time.sleep(0.05)


def silent(worker: Worker) -> None:
    worker.work()
    time.sleep(600)


def obey(worker: Worker) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    worker.work()
    time.sleep(600)


def greedy(worker: Worker) -> None:
    hoard = bytearray()
    while True:
        worker.heartbeat()
        hoard.extend(os.urandom(16 << 20))


def flood(worker: Worker) -> None:
    line = b"x" * 1023 + b"\n"
    for _ in range(64):
        sys.stdout.buffer.write(line * 1024)
    sys.stdout.flush()
    say("the end")
    work_on(worker)


def memory_error(worker: Worker) -> None:
    worker.work()
    raise MemoryError


def suicide(worker: Worker) -> None:
    worker.work()
    os.kill(os.getpid(), signal.SIGKILL)


def vanish(worker: Worker) -> None:
    worker.work()
    os.killpg(os.getpgid(0), signal.SIGKILL)


def fenced(worker: Worker) -> None:
    sys.exit(79)


def unreachable(worker: Worker) -> None:
    sys.exit(69)


def leak(worker: Worker) -> None:
    say(f"my token is {worker.token}")
    say("\x1b[31mred\x1b[0m", "x" * 100_000, sep="\n")
    sys.stdout.flush()
    sys.stdout.buffer.write(b"bad \xff\xfe bytes \x00 here\nenv: ")
    say(",".join(sorted(os.environ)), end="")
    sys.stdout.flush()
    worker.report(run_pb2.JOB_OUTCOME_COMPLETED)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: asked_to_end.set())
    plans = os.environ["WORKER_PLAN"].split(",")
    worker = Worker()
    plan = plans[min(worker.lease.job.attempt, len(plans)) - 1]
    globals()[plan](worker)


if __name__ == "__main__":
    main()
