"""An executor and an evaluator as far as a worker calls them, from memory, on loopback."""

# ruff: noqa: N802 - RPC methods carry the names of the contract.

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from elodrome.evaluator.v1 import evaluation_pb2, referee_service_pb2, referee_service_pb2_grpc
from elodrome.executor.v1 import (
    lease_service_pb2,
    lease_service_pb2_grpc,
    provenance_pb2,
    run_pb2,
)
from grpc_status import rpc_status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kit.errors import RpcError


@dataclass
class Platform(
    lease_service_pb2_grpc.LeaseServiceServicer, referee_service_pb2_grpc.RefereeServiceServicer
):
    """Answers every call, but for those in `refusals`; keeps what it was told."""

    task: referee_service_pb2.ClaimEvaluationResponse = field(
        default_factory=referee_service_pb2.ClaimEvaluationResponse
    )
    action: lease_service_pb2.LeaseAction = lease_service_pb2.LEASE_ACTION_CONTINUE
    refusals: dict[str, RpcError] = field(default_factory=dict)
    reported: list[tuple[run_pb2.JobOutcome, str, int]] = field(default_factory=list)
    replayed: list[str] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    provenances: list[provenance_pb2.Provenance] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)

    def AcquireLease(self, _request: Any, context: Any) -> lease_service_pb2.AcquireLeaseResponse:
        self._may(context, "AcquireLease")
        run = run_pb2.Run(id=str(uuid.uuid4()))
        run.config.update({"evaluation_id": str(uuid.uuid4())})
        return lease_service_pb2.AcquireLeaseResponse(
            lease_token="leased", heartbeat_interval_s=0.05, run=run
        )

    def Heartbeat(self, request: Any, context: Any) -> lease_service_pb2.HeartbeatResponse:
        self._may(context, "Heartbeat")
        self.cpu_s.append(request.cpu_s)
        return lease_service_pb2.HeartbeatResponse(lease_token="leased", action=self.action)

    def ReportProvenance(
        self, request: Any, context: Any
    ) -> lease_service_pb2.ReportProvenanceResponse:
        self._may(context, "ReportProvenance")
        self.provenances.append(request.provenance)
        return lease_service_pb2.ReportProvenanceResponse()

    def ReportOutcome(self, request: Any, context: Any) -> lease_service_pb2.ReportOutcomeResponse:
        self._may(context, "ReportOutcome")
        self.reported.append((request.outcome, request.reason, request.exit_code))
        self.replayed.append(request.replayed_sha256)
        self.cpu_s.append(request.final.cpu_s)
        return lease_service_pb2.ReportOutcomeResponse()

    def ClaimEvaluation(
        self, _request: Any, context: Any
    ) -> referee_service_pb2.ClaimEvaluationResponse:
        self._may(context, "ClaimEvaluation")
        return self.task

    def FinishEvaluation(self, request: Any, context: Any) -> evaluation_pb2.Evaluation:
        self._may(context, "FinishEvaluation")
        self.finished.append(request.error)
        return evaluation_pb2.Evaluation()

    def _may(self, context: Any, method: str) -> None:
        if method in self.refusals:
            context.abort_with_status(rpc_status.to_status(self.refusals[method].to_status()))

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve; hands out the address, at which there is no registry."""
        server = grpc.server(ThreadPoolExecutor(4))
        lease_service_pb2_grpc.add_LeaseServiceServicer_to_server(self, server)
        referee_service_pb2_grpc.add_RefereeServiceServicer_to_server(self, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(grace=None).wait()
