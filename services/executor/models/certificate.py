"""A certificate: what the CERTIFICATION run of a TRAINING run says about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elodrome.executor.v1 import run_pb2

from services.executor.models.messages import stamp
from services.executor.states import CertificateState

if TYPE_CHECKING:
    from services.executor.models.run import Run


def state_of(certification: Run) -> CertificateState:
    """Return what a CERTIFICATION run has shown; nothing is stored but the digest it came to."""
    if certification.replayed_sha256:
        is_same = certification.replayed_sha256 == certification.config["end"]["sha256"]
        return CertificateState.CERTIFIED if is_same else CertificateState.REFUTED
    return CertificateState.FAILED if certification.is_settled else CertificateState.PENDING


def difference(certification: Run) -> str:
    """Say for a person how a replay differs; empty where it does not."""
    if state_of(certification) is not CertificateState.REFUTED:
        return ""
    start, end = certification.config["start"], certification.config["end"]
    return (
        f"the replay of iterations {start['iteration']} to {end['iteration']} came to "
        f"{certification.replayed_sha256}, and the checkpoint is {end['sha256']}"
    )


def certificate_of(certification: Run | None) -> run_pb2.Certificate:
    """Return the certificate as others see it; NONE without a CERTIFICATION run."""
    if certification is None:
        return run_pb2.Certificate(state=CertificateState.NONE.to_proto())
    state = state_of(certification)
    return run_pb2.Certificate(
        state=state.to_proto(),
        certification_run_id=certification.id,
        seed=certification.seed,
        start_checkpoint=_reference(certification.config["start"]),
        end_checkpoint=_reference(certification.config["end"]),
        expected_sha256=certification.config["end"]["sha256"],
        replayed_sha256=certification.replayed_sha256,
        reason=certification.reason if state is CertificateState.FAILED else "",
        end_time=stamp(certification.end_time),
    )


def _reference(checkpoint: dict[str, Any]) -> run_pb2.CheckpointRef:
    return run_pb2.CheckpointRef(
        checkpoint_id=checkpoint["checkpoint_id"],
        iteration=checkpoint["iteration"],
        step=checkpoint["step"],
    )
