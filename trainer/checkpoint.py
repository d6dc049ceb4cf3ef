"""Checkpoint files: safetensors with a JSON manifest, so reading one never runs anything in it.

Tensors are grouped by the first part of their names: `network` alone is enough to play; `target`,
`optimizer`, `rng` and, where the run asks for it, `replay` let the same training go on.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from trainer import failpoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

FORMAT_VERSION = 1

Tensors = dict[str, "NDArray[np.generic]"]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a checkpoint says about itself.

    `observation` holds the options of the game that say what is shown, for Doom the fields of
    games.doom.observation.ObservationOptions; `network` its architecture's name and arguments;
    `stopping` what trainer.stopping remembers; `stage` is where it stands in its curriculum.
    """

    algorithm: str
    game: str
    scenario: str
    action_combinations: str
    action_count: int
    observation_shape: tuple[int, int, int]
    observation: dict[str, Any]
    frame_skip: int
    recurrent: bool
    network: dict[str, Any]
    config: dict[str, Any]
    iteration: int
    steps: int
    stopping: dict[str, Any] = field(default_factory=dict)
    stage: int = 0
    format_version: int = FORMAT_VERSION


class CheckpointError(ValueError):
    """The file is not a checkpoint that this program can read; the message says why."""


def write(path: Path, manifest: Manifest, tensors: Mapping[str, NDArray[np.generic]]) -> str:
    """Write the file such that `path` holds all of it or what it held before.

    The same content gives the same bytes. Returns their SHA-256 in hex.
    """
    text = json.dumps(asdict(manifest), sort_keys=True, allow_nan=False)
    contiguous = {name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}
    content = save(contiguous, metadata={"manifest": text})
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        half = len(content) // 2
        file.write(content[:half])
        failpoint.hit("mid-checkpoint-write")
        file.write(content[half:])
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_directory(path.parent)
    return hashlib.sha256(content).hexdigest()


def read_manifest(path: Path) -> Manifest:
    """Read what the file says about itself; raises CheckpointError."""
    try:
        with safe_open(path, framework="numpy") as file:
            entries = json.loads((file.metadata() or {})["manifest"])
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path.name} is not a checkpoint: {error}") from error
    if entries.get("format_version") != FORMAT_VERSION:
        version = entries.get("format_version")
        raise CheckpointError(f"{path.name} has format {version}; only {FORMAT_VERSION} is known")
    entries["observation_shape"] = tuple(entries["observation_shape"])
    return Manifest(**entries)


def read_group(path: Path, group: str) -> Tensors:
    """Read the tensors whose names begin with `group` and a dot, under what follows the dot."""
    prefix = f"{group}."
    with safe_open(path, framework="numpy") as file:
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 - no mapping
        return {name.removeprefix(prefix): file.get_tensor(name) for name in names}


def grouped(**groups: Mapping[str, NDArray[np.generic]]) -> Tensors:
    """Name tensors by their group: the opposite of `read_group`."""
    return {
        f"{group}.{name}": tensor
        for group, tensors in groups.items()
        for name, tensor in tensors.items()
    }


def generator_state(generator: np.random.Generator) -> NDArray[np.generic]:
    """Read a PCG64 generator as bytes: two numbers of 128 bits, then a cached draw and its flag."""
    state = generator.bit_generator.state
    words = (state["state"]["state"], state["state"]["inc"], state["uinteger"], state["has_uint32"])
    return np.frombuffer(b"".join(word.to_bytes(16, "little") for word in words), dtype=np.uint8)


def set_generator_state(generator: np.random.Generator, content: NDArray[np.generic]) -> None:
    """Put a generator where `generator_state` found one."""
    octets = content.tobytes()
    words = [int.from_bytes(octets[at : at + 16], "little") for at in range(0, 64, 16)]
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": words[0], "inc": words[1]},
        "uinteger": words[2],
        "has_uint32": words[3],
    }


def _sync_directory(directory: Path) -> None:
    """Make a rename durable: without this the old name may come back after a power failure."""
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
