"""Checkpoints at the registry: claimed by a lease, sent in pieces, committed in a second step."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from elodrome.registry.v1 import checkpoint_service_pb2 as checkpoint_pb
from elodrome.registry.v1.checkpoint_service_pb2_grpc import CheckpointServiceStub

from trainer import failpoint
from trainer.platform import CALL_TIMEOUT_S, Retry, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import grpc
    from elodrome.registry.v1.checkpoint_pb2 import Checkpoint

    from trainer.platform import Credential

PIECE_BYTES = 256 * 1024
# A gigabyte at the slowest speed worth working at.
TRANSFER_TIMEOUT_S = 120.0
BEST_METRIC = "eval_return"


class CheckpointStore:
    """The checkpoints of one run."""

    def __init__(self, registry: grpc.Channel, credential: Credential, run_id: str) -> None:
        """Call with the credential of the run's lease."""
        self._stub = CheckpointServiceStub(registry)
        self._credential = credential
        self._run_id = run_id
        self._retry = Retry()

    def claim(self) -> Checkpoint | None:
        """Shut older leases out; answers the checkpoint to go on from, if there is one."""
        message = checkpoint_pb.ClaimRunRequest(run_id=self._run_id)
        answer = self._retry(
            "claiming the run",
            lambda: self._stub.ClaimRun(
                message, timeout=CALL_TIMEOUT_S, metadata=self._credential.metadata()
            ),
        )
        return answer.checkpoint if answer.HasField("checkpoint") else None

    def download(self, checkpoint: Checkpoint, path: Path) -> None:
        """Fetch the file and check that it is the one that was committed."""
        self._retry("downloading a checkpoint", lambda: self._download(checkpoint.id, path))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != checkpoint.artifact.sha256:
            raise UnreachableError(f"checkpoint {checkpoint.id} arrived damaged")

    def save(
        self, path: Path, sha256: str, *, iteration: int, metrics: Mapping[str, float]
    ) -> Checkpoint:
        """Upload the file and vouch for it; afterwards it is durable."""
        uploaded = self._retry("uploading a checkpoint", lambda: self._upload(path, sha256))
        failpoint.hit("after-upload-before-commit")
        message = checkpoint_pb.CommitCheckpointRequest(
            id=uploaded.id,
            iteration=iteration,
            metrics=metrics,
            best_metric=BEST_METRIC if BEST_METRIC in metrics else "",
        )
        return self._retry(
            "committing a checkpoint",
            lambda: self._stub.CommitCheckpoint(
                message, timeout=TRANSFER_TIMEOUT_S, metadata=self._credential.metadata()
            ),
        )

    def _download(self, checkpoint_id: str, path: Path) -> None:
        pieces = self._stub.DownloadCheckpoint(
            checkpoint_pb.DownloadCheckpointRequest(id=checkpoint_id),
            timeout=TRANSFER_TIMEOUT_S,
            metadata=self._credential.metadata(),
        )
        with path.open("wb") as file:
            file.writelines(piece.data for piece in pieces)

    def _upload(self, path: Path, sha256: str) -> Checkpoint:
        return self._stub.UploadCheckpoint(
            self._pieces(path, sha256),
            timeout=TRANSFER_TIMEOUT_S,
            metadata=self._credential.metadata(),
        )

    def _pieces(self, path: Path, sha256: str) -> Iterator[checkpoint_pb.UploadCheckpointRequest]:
        yield checkpoint_pb.UploadCheckpointRequest(
            run_id=self._run_id, sha256=sha256, size_bytes=path.stat().st_size
        )
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield checkpoint_pb.UploadCheckpointRequest(data=piece)
