"""What a worker is made of, told once an attempt: code with its changes, packages, machine."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from elodrome.executor.v1 import lease_service_pb2 as lease_pb
from elodrome.executor.v1.lease_service_pb2_grpc import LeaseServiceStub
from elodrome.executor.v1.provenance_pb2 import Provenance

from trainer.platform import (
    CALL_TIMEOUT_S,
    FencedError,
    RefusedError,
    Retry,
    UnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trainer.attempt import Attempt

ROOT = Path(__file__).resolve().parents[1]
MAX_DIFF_BYTES = 256 << 10

_MODEL_NAMES = ("model name", "Model", "cpu model")
# Asked for early: games and learners pin themselves to some of them.
_CPU_COUNT = len(os.sched_getaffinity(0))

logger = logging.getLogger("trainer.provenance")


@contextmanager
def told(attempt: Attempt, *, gpu_id: int = -1) -> Iterator[None]:
    """Collect and tell while the block works; it does not end before that was tried once.

    The work goes on without it where the platform does not take it. `gpu_id` is that of
    `trainer.config.Config`.
    """
    retry = Retry()
    thread = threading.Thread(
        target=_tell, args=(attempt, gpu_id, retry), name="provenance", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        retry.halt.set()
        thread.join()


def _tell(attempt: Attempt, gpu_id: int, retry: Retry) -> None:
    message = lease_pb.ReportProvenanceRequest(provenance=collect(gpu_id=gpu_id))
    stub = LeaseServiceStub(attempt.executor)
    try:
        retry(
            "telling the provenance",
            lambda: stub.ReportProvenance(
                message, timeout=CALL_TIMEOUT_S, metadata=attempt.credential.metadata()
            ),
        )
    except (FencedError, RefusedError, UnreachableError) as error:
        logger.warning("nobody knows what this attempt is made of: %s", error)


def collect(root: Path = ROOT, *, gpu_id: int = -1) -> Provenance:
    """Look at the checkout in `root`, or what the image was built from, the packages, the machine.

    What is unknown stays empty.
    """
    has_gpu = 0 <= gpu_id < torch.cuda.device_count()
    said = Provenance(
        packages={found.name: found.version for found in importlib.metadata.distributions()},
        python_version=platform.python_version(),
        platform=platform.platform(),
        cpu_model=_cpu_model(),
        cpu_count=_CPU_COUNT,
        torch_threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name(gpu_id) if has_gpu else "",
        image_digest=os.environ.get("ELODROME_IMAGE_DIGEST", ""),
    )
    _describe_checkout(root, said)
    return said


def _describe_checkout(root: Path, said: Provenance) -> None:
    # A package in somebody's virtual environment may lie below a checkout of something else.
    if _git(root, "rev-parse", "--show-toplevel").rstrip(b"\n") != os.fsencode(root):
        _describe_build(said)
        return
    said.commit = _git(root, "rev-parse", "--verify", "HEAD").decode().strip()
    if not said.commit:
        return
    said.dirty = bool(_git(root, "status", "--porcelain"))
    if said.dirty:
        said.diff, said.diff_truncated = _diff(root)


def _describe_build(said: Provenance) -> None:
    """Say what an image was built from, where it says so itself."""
    built = os.environ.get("ELODROME_COMMIT", "")
    said.commit = built.removesuffix("-dirty")
    said.dirty = built.endswith("-dirty")


def _diff(root: Path) -> tuple[str, bool]:
    """Return every change since the commit, new files included, and whether it was cut."""
    with tempfile.TemporaryDirectory() as place:
        # New files are announced to an index of our own: nothing in the checkout changes.
        index, names = Path(place) / "index", Path(place) / "names"
        theirs = _git(root, "rev-parse", "--git-path", "index").rstrip(b"\n")
        shutil.copyfile(root / os.fsdecode(theirs), index)
        own = {"GIT_INDEX_FILE": str(index)}
        names.write_bytes(_git(root, "ls-files", "--others", "--exclude-standard", "-z"))
        add = ("add", "--intent-to-add", "--pathspec-file-nul", f"--pathspec-from-file={names}")
        _git(root, *add, extra=own)
        diff = ("diff", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD")
        content = _git(root, *diff, extra=own, limit_bytes=MAX_DIFF_BYTES + 1)
    # What is not UTF-8 grows when it is replaced, so the limit is kept afterwards.
    encoded = content.decode(errors="replace").replace("\0", "\ufffd").encode()
    kept = encoded[:MAX_DIFF_BYTES].decode(errors="ignore")
    return kept, len(encoded) > MAX_DIFF_BYTES


def _git(
    root: Path, *arguments: str, extra: Mapping[str, str] | None = None, limit_bytes: int = -1
) -> bytes:
    """Return what git prints, up to a limit; nothing where it fails or is not installed."""
    program = shutil.which("git")
    if program is None:
        return b""
    with subprocess.Popen(  # noqa: S603 - the arguments are ours
        [program, "--no-optional-locks", "-C", str(root), *arguments],
        env={**os.environ, **(extra or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as running:
        assert running.stdout is not None
        printed = running.stdout.read(limit_bytes)
        running.stdout.close()
    is_cut = len(printed) == limit_bytes
    return printed if is_cut or running.returncode == 0 else b""


def _cpu_model() -> str:
    """Return what the CPU calls itself."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.exists() else []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in _MODEL_NAMES:
            return value.strip()
    return platform.processor()
