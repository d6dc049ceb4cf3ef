"""The lease on a job: taken once, kept by heartbeats on a thread, given back with an outcome."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from elodrome.executor.v1 import lease_service_pb2 as lease_pb
from elodrome.executor.v1 import run_pb2
from elodrome.executor.v1.lease_service_pb2_grpc import LeaseServiceStub

from trainer.cpu import cpu_seconds
from trainer.platform import CALL_TIMEOUT_S, Retry
from trainer.reporter import Request

if TYPE_CHECKING:
    import grpc

    from trainer.platform import Credential

_REQUESTS = {
    lease_pb.LEASE_ACTION_STOP: Request.STOP,
    lease_pb.LEASE_ACTION_PAUSE: Request.PAUSE,
    lease_pb.LEASE_ACTION_CANCEL: Request.CANCEL,
}

logger = logging.getLogger("trainer.lease")


class Lease:
    """A job held; `run` is the run it executes, as it stood when the lease was taken."""

    def __init__(self, executor: grpc.Channel, credential: Credential) -> None:
        """Take the lease with the token this process was started with.

        Raises FencedError where a newer attempt exists.
        """
        self._stub = LeaseServiceStub(executor)
        self._credential = credential
        self._retry = Retry()
        answer = self._retry(
            "acquiring the lease",
            lambda: self._stub.AcquireLease(
                lease_pb.AcquireLeaseRequest(),
                timeout=CALL_TIMEOUT_S,
                metadata=credential.metadata(),
            ),
        )
        credential.token = answer.lease_token
        self.run: run_pb2.Run = answer.run
        self._interval_s = answer.heartbeat_interval_s
        self._lock = threading.Lock()
        self._report = lease_pb.HeartbeatRequest()
        self._request = Request.GO_ON
        self._failure: Exception | None = None
        self._due = threading.Event()
        self._ended = threading.Event()
        self._asked = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def request(self) -> Request:
        """Tell what the platform asks for; raises what ended the lease, if something did."""
        if self._failure is not None:
            raise self._failure
        return self._request

    def await_request(self, beats: int) -> Request:
        """Tell what is asked for within so many heartbeats; GO_ON where nothing is."""
        self._asked.wait(beats * self._interval_s)
        return self.request()

    def progress(self, *, iteration: int, max_iterations: int, step: int, phase: str) -> None:
        """Note the progress that the next heartbeat reports.

        The first step and every phase that begins are told now.
        """
        with self._lock:
            is_news = self._report.step == 0 < step or self._report.phase != phase
            self._report.current_iteration = iteration
            self._report.max_iterations = max_iterations
            self._report.step = step
            self._report.phase = phase
        if is_news:
            self._due.set()

    def committed(self, checkpoint: run_pb2.CheckpointRef) -> None:
        """Tell of a checkpoint now, not with the next heartbeat."""
        with self._lock:
            self._report.checkpoint.CopyFrom(checkpoint)
        self._due.set()

    def resumed(self, checkpoint: run_pb2.CheckpointRef) -> None:
        """Tell what this attempt continues from, now."""
        with self._lock:
            self._report.resumed_from.CopyFrom(checkpoint)
        self._due.set()

    def give_back(
        self,
        outcome: run_pb2.JobOutcome,
        reason: str,
        exit_code: int,
        *,
        replayed_sha256: str = "",
    ) -> None:
        """End the job; raises FencedError where it was not ours to end."""
        self._stop_heartbeats()
        message = lease_pb.ReportOutcomeRequest(
            outcome=outcome,
            reason=reason[:4000],
            exit_code=exit_code,
            final=self._snapshot(),
            replayed_sha256=replayed_sha256,
        )
        Retry()(
            "reporting the outcome",
            lambda: self._stub.ReportOutcome(
                message, timeout=CALL_TIMEOUT_S, metadata=self._credential.metadata()
            ),
        )

    def _stop_heartbeats(self) -> None:
        self._ended.set()
        self._retry.halt.set()
        self._due.set()
        self._thread.join()

    def _snapshot(self) -> lease_pb.HeartbeatRequest:
        message = lease_pb.HeartbeatRequest()
        used_s = cpu_seconds()
        with self._lock:
            # What a game used that ended since is missing from the count until it is reaped.
            self._report.cpu_s = max(self._report.cpu_s, used_s)
            message.CopyFrom(self._report)
        return message

    def _keep(self) -> None:
        """Send heartbeats until the job ends; what ends them early is raised by `request`."""
        while not self._ended.is_set():
            try:
                answer = self._retry("sending a heartbeat", self._beat)
            except Exception as error:
                logger.exception("the lease is lost")
                self._failure = error
                return
            self._credential.token = answer.lease_token
            if answer.action in _REQUESTS and self._request is Request.GO_ON:
                self._request = _REQUESTS[answer.action]
                self._asked.set()
                logger.info("asked to %s", self._request.value)
            self._due.wait(self._interval_s)
            self._due.clear()

    def _beat(self) -> lease_pb.HeartbeatResponse:
        return self._stub.Heartbeat(
            self._snapshot(),
            timeout=CALL_TIMEOUT_S,
            metadata=self._credential.metadata(recorded=False),
        )
