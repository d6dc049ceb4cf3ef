"""Uploads and commits: what is no checkpoint, or does not come whole, leaves nothing."""

from __future__ import annotations

import asyncio
import pickle
import resource
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from elodrome.registry.v1 import checkpoint_pb2, events_pb2
from elodrome.registry.v1 import checkpoint_service_pb2 as pb
from sqlalchemy import text

from tests.service.registry_files import assert_nothing_stored, files_of, path_of
from tests.service.registry_service import (
    PIECE_BYTES,
    Registry,
    a_file,
    digest_of,
    messages,
    refused,
)
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 4 << 20


@pytest.fixture
def registry_settings() -> dict[str, Any]:
    return {"max_checkpoint_bytes": MAX_BYTES, "max_uploads": 3, "upload_idle_s": 0.5}


async def test_a_checkpoint_is_uploaded_then_committed(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    content = a_file(iteration=5, weights=100_000)
    worker = registry.worker(run_id, epoch=3)
    pending = await registry.upload(content, run_id=run_id, caller=worker, size_bytes=len(content))
    assert pending.state == checkpoint_pb2.CHECKPOINT_STATE_PENDING
    assert await registry.listed(run_id=run_id) == []
    committed = await registry.commit(pending, caller=worker, metrics={"reward": 1.5})
    assert committed.state == checkpoint_pb2.CHECKPOINT_STATE_COMMITTED
    assert (committed.iteration, committed.steps, committed.epoch) == (5, 20, 3)
    assert committed.owner_id == registry.user_id
    assert committed.artifact.sha256 == digest_of(content)
    assert committed.artifact.size_bytes == len(content)
    assert committed.signature.observation_shape == [4, 36, 64]
    assert committed.tensor_groups == ["network", "optimizer"]
    assert committed.manifest["config"]["learning_rate"] == 5e-4
    assert await registry.checkpoint(committed.id) == committed
    assert path_of(registry, digest_of(content)).read_bytes() == content
    assert len(files_of(registry)) == 1


async def test_a_commit_is_announced_once(registry: Registry) -> None:
    pending = await registry.upload(a_file(iteration=2))
    for _ in range(2):
        await registry.commit(pending, metrics={"reward": float("inf")})
    async with registry.running.context.sessions() as session:
        rows = (await session.execute(text("SELECT subject, payload FROM outbox"))).all()
    assert [row.subject for row in rows] == [f"elodrome.registry.v1.CheckpointSaved.{pending.id}"]
    event = events_pb2.CheckpointSaved.FromString(rows[0].payload)
    assert (event.checkpoint_id, event.run_id) == (pending.id, pending.run_id)
    assert event.owner_id == registry.user_id
    assert event.metrics["reward"] == float("inf")
    assert event.signature.scenario == "basic"
    async with refused("CHECKPOINT_COMMITTED", "ALREADY_EXISTS"):
        await registry.commit(pending, metrics={"reward": 2.0})


async def test_checkpoints_of_a_run_are_listed_in_step_order(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    for iteration in (30, 10, 20):
        await registry.a_checkpoint(run_id=run_id, iteration=iteration)
    await registry.a_checkpoint()
    page = await registry.checkpoints.ListCheckpoints(
        pb.ListCheckpointsRequest(run_id=run_id, page_size=2), metadata=registry.user
    )
    rest = await registry.listed(run_id=run_id, page_size=2, page_token=page.next_page_token)
    assert [item.iteration for item in [*page.items, *rest]] == [10, 20, 30]
    assert page.total == 3
    descending = await registry.listed(run_id=run_id, order_by="iteration desc")
    assert [item.iteration for item in descending] == [30, 20, 10]
    assert len(await registry.listed()) == 4
    for wrong in ({"order_by": "owner"}, {"state": 9}, {"run_id": "../x"}):
        async with refused("INVALID_FIELD", "INVALID_ARGUMENT"):
            await registry.listed(**wrong)


async def test_the_commit_must_name_the_files_iteration(registry: Registry) -> None:
    pending = await registry.upload(a_file(iteration=7))
    pending.iteration = 8
    async with refused("INVALID_FIELD") as refusal:
        await registry.commit(pending)
    assert refusal[0].field == "iteration"


async def test_equal_files_are_stored_once(registry: Registry) -> None:
    content = a_file()
    first, second = await registry.upload(content), await registry.upload(content)
    assert first.id != second.id
    assert len(files_of(registry)) == 1
    assert await registry.count("artifacts") == 1


async def test_parallel_repeats_of_an_upload_are_one_checkpoint(registry: Registry) -> None:
    run_id, content = str(uuid.uuid4()), a_file(weights=50_000)
    uploads = await asyncio.gather(*[registry.upload(content, run_id=run_id) for _ in range(3)])
    assert len({checkpoint.id for checkpoint in uploads}) == 1
    again = await registry.upload(content, run_id=run_id)
    assert again.id == uploads[0].id


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


async def test_what_is_no_checkpoint_is_refused_and_not_stored(
    registry: Registry, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    huge_header = (100 << 20).to_bytes(8, "little") + bytes(1000)
    for content in (pickle.dumps(Bomb(marker)), b"PK\x03\x04" + bytes(500), b"x", huge_header):
        async with refused("INVALID_CHECKPOINT", "INVALID_ARGUMENT") as refusal:
            await registry.upload(content)
        assert refusal[0].message.startswith("data: is not a checkpoint")
    async with refused("INVALID_CHECKPOINT"):
        await registry.upload(a_file(weights=100_000)[:-1])
    await assert_nothing_stored(registry)
    assert not marker.exists()


async def test_bytes_that_are_not_what_was_announced_are_refused(registry: Registry) -> None:
    content = a_file()
    async with refused("DIGEST_MISMATCH", "INVALID_ARGUMENT") as refusal:
        await registry.upload(content, sha256="0" * 64)
    assert refusal[0].metadata["http_status"] == "409"
    assert refusal[0].metadata["actual"] == digest_of(content)
    async with refused("SIZE_MISMATCH"):
        await registry.upload(content, size_bytes=len(content) + 1)
    async with refused("DIGEST_MISMATCH"):
        await registry.upload(b"", sha256="0" * 64)
    await assert_nothing_stored(registry)


async def test_a_malformed_header_is_refused(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    for sha256 in ("", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 63 + "/", "0" * 65):
        async with refused("INVALID_FIELD") as refusal:
            await registry.send(messages(a_file(), run_id, sha256), run_id)
        assert refusal[0].field == "sha256"
    for wrong in ("", "../x", "1"):
        async with refused("INVALID_FIELD") as refusal:
            await registry.send(messages(a_file(), wrong, "0" * 64), run_id)
        assert refusal[0].field == "run_id"
    async with refused("INVALID_FIELD"):
        await registry.checkpoints.UploadCheckpoint(iter(()), metadata=registry.worker(run_id))
    await assert_nothing_stored(registry)


async def test_a_file_over_the_limit_is_refused_however_it_is_announced(
    registry: Registry,
) -> None:
    async with refused("TOO_LARGE") as refusal:
        await registry.upload(a_file(), size_bytes=MAX_BYTES + 1)
    assert refusal[0].metadata["http_status"] == "413"
    async with refused("TOO_LARGE"):
        await registry.upload(a_file(weights=MAX_BYTES // 4))
    run_id = str(uuid.uuid4())
    piece = pb.UploadCheckpointRequest(run_id=run_id, sha256="0" * 64, data=bytes(1 << 20))
    oversized = pb.UploadCheckpointRequest(data=bytes((1 << 20) + 1))
    async with refused("INVALID_FIELD"):
        await registry.send(iter([piece, oversized]), run_id)
    await assert_nothing_stored(registry)


async def test_a_silent_upload_ends_and_leaves_nothing(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    call = registry.checkpoints.UploadCheckpoint(metadata=registry.worker(run_id))
    await call.write(
        pb.UploadCheckpointRequest(run_id=run_id, sha256="0" * 64, data=bytes(PIECE_BYTES))
    )
    await eventually(lambda: files_of(registry))
    async with refused("UPLOAD_STALLED", "DEADLINE_EXCEEDED"):
        await call
    await assert_nothing_stored(registry)


async def test_a_cancelled_upload_leaves_nothing(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    call = registry.checkpoints.UploadCheckpoint(metadata=registry.worker(run_id))
    await call.write(
        pb.UploadCheckpointRequest(run_id=run_id, sha256="0" * 64, data=bytes(1 << 20))
    )
    await eventually(lambda: files_of(registry))
    call.cancel()
    await eventually(lambda: not files_of(registry))
    await assert_nothing_stored(registry)


async def test_one_upload_too_many_is_asked_to_come_back(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    calls = []
    for _ in range(3):
        call = registry.checkpoints.UploadCheckpoint(metadata=registry.worker(run_id))
        await call.write(pb.UploadCheckpointRequest(run_id=run_id, sha256="0" * 64))
        calls.append(call)
    await eventually(lambda: len(files_of(registry)) == 3)
    async with refused("TOO_MANY_UPLOADS", "RESOURCE_EXHAUSTED") as refusal:
        await registry.upload(a_file())
    assert refusal[0].retry_after_s
    for call in calls:
        call.cancel()
    await eventually(lambda: not files_of(registry))
    await registry.upload(a_file())


@contextmanager
def files_limited_to(size_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_is_told_and_cleaned_up(registry: Registry) -> None:
    content = a_file(weights=800_000)
    with files_limited_to(2 << 20):
        async with refused("STORAGE_FULL", "RESOURCE_EXHAUSTED") as refusal:
            await registry.upload(content)
    assert refusal[0].metadata["http_status"] == "507"
    await assert_nothing_stored(registry)
    await registry.upload(content)
