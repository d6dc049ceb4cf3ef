"""One gigabyte of checkpoint into the registry, streamed as a worker streams it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from elodrome.registry.v1.checkpoint_service_pb2 import UploadCheckpointRequest
from elodrome.registry.v1.checkpoint_service_pb2_grpc import CheckpointServiceStub

from bench.report import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil

    from bench.install import Install

SIZE_BYTES = 1 << 30
CHUNK_BYTES = 256 * 1024
ROUNDS = 3


async def measure(install: Install) -> list[Row]:
    """Report the median speed of some uploads and how much the registry grew meanwhile."""
    admin = await install.admin()
    run = await admin.json("POST", "/api/v1/runs", {"type": "EXTERNAL", "name": "upload"})
    registry = install.process("registry")
    speeds: list[float] = []
    growth = 0.0
    for i in range(ROUNDS):
        with tempfile.NamedTemporaryFile(dir=install.home) as file:
            digest = await asyncio.to_thread(_write, Path(file.name), i)
            before = registry.memory_info().rss
            watcher = asyncio.create_task(_peak(registry))
            begin = time.perf_counter()
            async with install.channel("registry") as channel:
                metadata = [("authorization", f"Bearer {admin.token}")]
                await CheckpointServiceStub(channel).UploadCheckpoint(
                    _requests(Path(file.name), run["id"], digest), metadata=metadata
                )
            speeds.append(SIZE_BYTES / 1e6 / (time.perf_counter() - begin))
            watcher.cancel()
            growth = max(growth, (await asyncio.gather(watcher))[0] - before)
    middle = sorted(speeds)[ROUNDS // 2]
    detail: dict[str, float | int | str] = {"slowest": min(speeds), "fastest": max(speeds)}
    return [
        Row("checkpoint upload of 1 GiB", middle, "MB/s", 150, more_is_better=True, detail=detail),
        Row("registry growth meanwhile", growth / 1e6, "MB", 64),
    ]


def _write(path: Path, seed: int) -> str:
    """Write a valid checkpoint of the size and return its SHA-256."""
    manifest = {
        "format_version": 1,
        "algorithm": "DQN",
        "iteration": seed,
        "observation_shape": [1],
        "config": {},
    }
    tensor = {"dtype": "U8", "shape": [SIZE_BYTES], "data_offsets": [0, SIZE_BYTES]}
    header = json.dumps(
        {"__metadata__": {"manifest": json.dumps(manifest)}, "network.weight": tensor}
    ).encode()
    block = os.urandom(1 << 22)
    sha256 = hashlib.sha256()
    with path.open("wb") as file:
        for part in (len(header).to_bytes(8, "little"), header):
            sha256.update(part)
            file.write(part)
        for _ in range(SIZE_BYTES // len(block)):
            sha256.update(block)
            file.write(block)
    return sha256.hexdigest()


def _requests(path: Path, run_id: str, digest: str) -> Iterator[UploadCheckpointRequest]:
    size = path.stat().st_size
    yield UploadCheckpointRequest(run_id=run_id, sha256=digest, size_bytes=size)
    with path.open("rb") as file:
        while data := file.read(CHUNK_BYTES):
            yield UploadCheckpointRequest(data=data)


async def _peak(process: psutil.Process) -> float:
    peak = 0
    try:
        while True:
            peak = max(peak, process.memory_info().rss)
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        return peak
