from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.registry import weights_file
from trainer import checkpoint
from trainer.checkpoint import CheckpointError, Manifest

ROOT = Path(__file__).parents[2]
MANIFEST = Manifest(
    algorithm="DQN",
    game="doom",
    scenario="basic",
    action_combinations="move_lr;attack",
    action_count=5,
    observation_shape=(4, 36, 64),
    observation={"history": 4},
    frame_skip=4,
    recurrent=False,
    network={"name": "QNetwork", "arguments": {}},
    config={"seed": 3},
    iteration=1000,
    steps=4000,
)
TENSORS = {
    "network.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "optimizer.0.step": np.array(7.0, dtype=np.float32),
    "replay.frames": np.arange(6, dtype=np.uint8),
}


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    sha256 = checkpoint.write(path, MANIFEST, TENSORS)

    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert checkpoint.read_manifest(path) == MANIFEST
    assert np.array_equal(
        checkpoint.read_group(path, "network")["weight"], TENSORS["network.weight"]
    )
    assert checkpoint.read_group(path, "optimizer")["0.step"].shape == ()
    assert checkpoint.read_group(path, "rng") == {}


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    backwards = dict(reversed(TENSORS.items()))
    transposed = {**TENSORS, "network.weight": TENSORS["network.weight"].T.copy().T}
    digests = {
        checkpoint.write(tmp_path / "a", MANIFEST, tensors)
        for tensors in (TENSORS, backwards, transposed)
    }
    assert len(digests) == 1


def test_registry_accepts_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, MANIFEST, TENSORS)
    with path.open("rb") as file:
        contents = weights_file.read(file, path.stat().st_size)
    assert contents.tensor_groups == ("network", "optimizer", "replay")
    assert contents.manifest["observation_shape"] == [4, 36, 64]


def test_killed_writer_leaves_the_file_before_it(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    sha256 = checkpoint.write(path, MANIFEST, TENSORS)
    code = (
        "import numpy, pathlib, sys, trainer.checkpoint as c\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "c.write(path, c.read_manifest(path), {'network.weight': numpy.zeros(1 << 16)})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        env={**os.environ, "ELODROME_FAILPOINT": "mid-checkpoint-write:kill@1"},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert path.with_suffix(".tmp").exists()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\x08" + b"\0" * 7 + b"{}      "])
def test_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        checkpoint.read_manifest(path)


def test_file_of_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, replace(MANIFEST, format_version=2), TENSORS)
    with pytest.raises(CheckpointError, match="format 2"):
        checkpoint.read_manifest(path)


def test_manifest_cannot_hold_what_json_cannot(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoint.write(tmp_path / "a", replace(MANIFEST, config={"gamma": float("nan")}), TENSORS)
    assert json.loads(json.dumps(MANIFEST.config)) == MANIFEST.config


def test_generator_goes_on_where_it_was() -> None:
    generator = np.random.default_rng(1)
    # An odd count of 32-bit draws leaves half a word cached.
    generator.integers(0, 5, size=3, dtype=np.uint32)
    state = checkpoint.generator_state(generator)
    following = generator.integers(0, 1000, size=20, dtype=np.uint32)

    other = np.random.default_rng(2)
    checkpoint.set_generator_state(other, state)
    assert np.array_equal(other.integers(0, 1000, size=20, dtype=np.uint32), following)
