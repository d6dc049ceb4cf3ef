"""What a worker says it is made of."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from services.executor.models.job import Job
from services.executor.models.provenance import MAX_DIFF_BYTES, told
from trainer.provenance import ROOT, collect

if TYPE_CHECKING:
    from pathlib import Path

    from elodrome.executor.v1.provenance_pb2 import Provenance


def git(root: Path, *arguments: str) -> str:
    author = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
    done = subprocess.run(
        ["git", "-C", str(root), *author, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    root.mkdir()
    git(root, "init")
    (root / "dqn.py").write_text("gamma = 0.99\n")
    (root / ".gitignore").write_text("*.log\n")
    git(root, "add", ".")
    git(root, "commit", "--message", "Begin")
    return root


def accepted(said: Provenance) -> Provenance:
    """Take it as the executor would."""
    stored = told(Job(run_id="7", attempt=1), said)
    return stored.to_proto()


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    (checkout / "noise.log").write_text("ignored")
    said = collect(checkout)
    assert said.commit == git(checkout, "rev-parse", "HEAD")
    assert not said.dirty
    assert said.diff == ""


def test_a_dirty_checkout_is_its_commit_and_a_diff_that_applies(checkout: Path) -> None:
    (checkout / "dqn.py").write_text("gamma = 0.9\n")
    (checkout / "ppo new.py").write_text("clip = 0.2\n")
    before = git(checkout, "status", "--porcelain")
    said = accepted(collect(checkout))
    assert said.dirty
    assert not said.diff_truncated
    # Looking changes nothing: the new file is as untracked as before.
    assert git(checkout, "status", "--porcelain") == before

    clean = checkout.parent / "clean"
    git(checkout, "worktree", "add", str(clean), said.commit)
    subprocess.run(["git", "-C", str(clean), "apply"], input=said.diff, text=True, check=True)
    for name in ("dqn.py", "ppo new.py"):
        assert (clean / name).read_text() == (checkout / name).read_text()


@pytest.mark.parametrize(
    "line", [b"x" * 99 + b"\n", b"\xe9" * 99 + b"\n", "é".encode() * 50 + b"\n"]
)
def test_a_long_diff_is_cut_where_the_executor_would_refuse_it(checkout: Path, line: bytes) -> None:
    (checkout / "long.py").write_bytes((line + b"\n") * 4000)
    said = accepted(collect(checkout))
    assert said.dirty
    assert said.diff_truncated
    assert MAX_DIFF_BYTES - 4 <= len(said.diff.encode()) <= MAX_DIFF_BYTES


def test_without_a_checkout_of_its_own_there_is_no_code_and_no_error(
    checkout: Path, tmp_path: Path
) -> None:
    (checkout / "site-packages").mkdir()
    for root in (tmp_path, checkout / "site-packages"):
        said = accepted(collect(root))
        assert (said.commit, said.dirty, said.diff) == ("", False, "")


@pytest.mark.parametrize(("suffix", "dirty"), [("", False), ("-dirty", True)])
def test_an_image_is_the_commit_it_was_built_from(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, *, dirty: bool
) -> None:
    monkeypatch.setenv("ELODROME_COMMIT", f"0123abc{suffix}")
    said = accepted(collect(tmp_path))
    assert (said.commit, said.dirty, said.diff) == ("0123abc", dirty, "")
    assert collect(checkout).commit == git(checkout, "rev-parse", "HEAD")


def test_without_git_there_is_no_code_and_no_error(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert collect(checkout).commit == ""


def test_packages_and_machine_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELODROME_IMAGE_DIGEST", "sha256:0123")
    said = accepted(collect(ROOT))
    assert said.packages["numpy"] == version("numpy")
    assert said.python_version == ".".join(map(str, sys.version_info[:3]))
    assert said.cpu_count == len(os.sched_getaffinity(0))
    assert said.image_digest == "sha256:0123"
    assert said.gpu == ""
