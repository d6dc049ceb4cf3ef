"""Checkpoints: uploads, commits, leases, downloads and what happens to damaged files."""

from __future__ import annotations

import asyncio
import hashlib
import pickle
import resource
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
import pytest
from elodrome.evaluator.v1 import events_pb2 as evaluator_events
from elodrome.registry.v1 import (
    checkpoint_pb2,
    events_pb2,
    version_service_pb2,
)
from elodrome.registry.v1 import (
    checkpoint_service_pb2 as pb,
)
from sqlalchemy import text

from services.registry.artifacts import ArtifactStore
from services.registry.disposal import Disposal
from tests.service.registry_service import (
    PIECE_BYTES,
    Registry,
    a_file,
    a_registry,
    digest_of,
    messages,
    refused,
)
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.tokens import Metadata, Tokens

Environment = "Callable[[str], dict[str, Any]]"

MAX_BYTES = 4 << 20


@pytest.fixture
async def registry(service_environment: Environment, tokens: Tokens) -> AsyncIterator[Registry]:
    async with a_registry(
        service_environment,
        tokens,
        max_checkpoint_bytes=MAX_BYTES,
        max_uploads=3,
        upload_idle_s=0.5,
    ) as running:
        yield running


def root_of(registry: Registry) -> Path:
    return Path(urlsplit(registry.running.context.settings.store_url).path)


def files_of(registry: Registry) -> set[Path]:
    """Everything below the artifacts directory, staged files included."""
    return {path for path in root_of(registry).rglob("*") if path.is_file()}


def path_of(registry: Registry, sha256: str) -> Path:
    return root_of(registry) / "sha256" / sha256[:2] / sha256


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


async def count(registry: Registry, table: str) -> int:
    async with registry.running.context.sessions() as session:
        return await session.scalar(text(f"SELECT count(*) FROM {table}"))


async def assert_nothing_stored(registry: Registry) -> None:
    assert files_of(registry) == set()
    assert await count(registry, "checkpoints") == 0
    assert await count(registry, "artifacts") == 0


async def claim(registry: Registry, run_id: str, epoch: int) -> pb.ClaimRunResponse:
    return await registry.checkpoints.ClaimRun(
        pb.ClaimRunRequest(run_id=run_id), metadata=registry.worker(run_id, epoch=epoch)
    )


async def listed(
    registry: Registry, caller: Metadata | None = None, **fields: Any
) -> list[checkpoint_pb2.Checkpoint]:
    answer = await registry.checkpoints.ListCheckpoints(
        pb.ListCheckpointsRequest(**fields), metadata=caller or registry.user
    )
    return list(answer.items)


async def download(
    registry: Registry, checkpoint_id: str, caller: Metadata | None = None, byte_range: str = ""
) -> tuple[dict[str, str], bytes]:
    """Return the headers and the bytes, or raise the stream's error with the bytes so far."""
    metadata = [*(caller or registry.user)]
    if byte_range:
        metadata.append(("range", byte_range))
    call = registry.checkpoints.DownloadCheckpoint(
        pb.DownloadCheckpointRequest(id=checkpoint_id), metadata=metadata
    )
    received = bytearray()
    try:
        async for piece in call:
            assert len(piece.data) <= 256 << 10
            received += piece.data
    except grpc.aio.AioRpcError as error:
        error.received = bytes(received)  # type: ignore[attr-defined]
        raise
    return dict(await call.initial_metadata()), bytes(received)


def impatient(registry: Registry) -> Disposal:
    """The registry's own removal of leftovers, without its grace."""
    settings = registry.running.context.settings.model_copy(
        update={"orphan_grace_s": 0, "pending_ttl_s": 0}
    )
    store = ArtifactStore(settings.store_url, settings.home / "staging")
    return Disposal(settings, registry.running.context.sessions, store)


# -- upload and commit


async def test_a_checkpoint_is_uploaded_then_committed(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    content = a_file(iteration=5, weights=100_000)
    worker = registry.worker(run_id, epoch=3)
    pending = await registry.upload(content, run_id=run_id, caller=worker, size_bytes=len(content))
    assert pending.state == checkpoint_pb2.CHECKPOINT_STATE_PENDING
    assert await listed(registry, run_id=run_id) == []
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
    rest = await listed(registry, run_id=run_id, page_size=2, page_token=page.next_page_token)
    assert [item.iteration for item in [*page.items, *rest]] == [10, 20, 30]
    assert page.total == 3
    descending = await listed(registry, run_id=run_id, order_by="iteration desc")
    assert [item.iteration for item in descending] == [30, 20, 10]
    assert len(await listed(registry)) == 4
    for wrong in ({"order_by": "owner"}, {"state": 9}, {"run_id": "../x"}):
        async with refused("INVALID_FIELD", "INVALID_ARGUMENT"):
            await listed(registry, **wrong)


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
    assert await count(registry, "artifacts") == 1


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
            await registry.checkpoints.UploadCheckpoint(
                messages(a_file(), run_id, sha256), metadata=registry.worker(run_id)
            )
        assert refusal[0].field == "sha256"
    for wrong in ("", "../x", "1"):
        async with refused("INVALID_FIELD") as refusal:
            await registry.checkpoints.UploadCheckpoint(
                messages(a_file(), wrong, "0" * 64), metadata=registry.worker(run_id)
            )
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
        await registry.checkpoints.UploadCheckpoint(
            iter([piece, oversized]), metadata=registry.worker(run_id)
        )
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


# -- leases


async def test_a_newer_lease_shuts_the_older_out(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    old, new = registry.worker(run_id, epoch=1), registry.worker(run_id, epoch=2)
    pending = await registry.upload(a_file(), run_id=run_id, caller=old)
    assert (await claim(registry, run_id, 2)).epoch == 2
    async with refused("STALE_EPOCH", "FAILED_PRECONDITION"):
        await claim(registry, run_id, 1)
    async with refused("STALE_EPOCH"):
        await registry.upload(a_file(), run_id=run_id, caller=old)
    async with refused("STALE_EPOCH"):
        await registry.commit(pending, caller=old)
    assert await listed(registry, run_id=run_id) == []
    await registry.commit(pending, caller=new)


async def test_a_lease_lost_during_an_upload_stores_no_checkpoint(registry: Registry) -> None:
    run_id, content = str(uuid.uuid4()), a_file(weights=50_000)
    call = registry.checkpoints.UploadCheckpoint(metadata=registry.worker(run_id, epoch=1))
    pieces = list(messages(content, run_id, digest_of(content)))
    await call.write(pieces[0])
    await eventually(lambda: files_of(registry))
    await claim(registry, run_id, 2)
    for piece in pieces[1:]:
        await call.write(piece)
    await call.done_writing()
    async with refused("STALE_EPOCH"):
        await call
    assert await count(registry, "checkpoints") == 0
    await impatient(registry).sweep()
    await assert_nothing_stored(registry)


async def test_a_worker_writes_for_its_own_run_alone(registry: Registry) -> None:
    run_id, other = str(uuid.uuid4()), str(uuid.uuid4())
    theirs = await registry.a_checkpoint(run_id=other)
    worker = registry.worker(run_id)
    async with refused("NOT_YOUR_RUN", "PERMISSION_DENIED"):
        await registry.upload(a_file(), run_id=other, caller=worker)
    async with refused("NOT_YOUR_RUN", "PERMISSION_DENIED"):
        await registry.checkpoints.ClaimRun(pb.ClaimRunRequest(run_id=other), metadata=worker)
    async with refused("CHECKPOINT_NOT_FOUND", "NOT_FOUND"):
        await registry.commit(theirs, caller=worker)


async def test_a_claim_answers_the_newest_whole_checkpoint(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    assert not (await claim(registry, run_id, 1)).HasField("checkpoint")
    saved = [await registry.a_checkpoint(run_id=run_id, iteration=n) for n in (1, 2, 3)]
    await registry.upload(a_file(iteration=4), run_id=run_id)
    assert (await claim(registry, run_id, 2)).checkpoint.iteration == 3
    flip_a_byte(path_of(registry, saved[2].artifact.sha256))
    path_of(registry, saved[1].artifact.sha256).unlink()
    assert (await claim(registry, run_id, 3)).checkpoint.id == saved[0].id
    damaged = await listed(registry, state=checkpoint_pb2.CHECKPOINT_STATE_CORRUPT)
    assert {item.iteration: item.corrupt_reason for item in damaged} == {
        3: "its content has another digest",
        2: "the file is missing",
    }


async def test_people_write_for_their_own_runs_without_a_worker(registry: Registry) -> None:
    mine, theirs, trained = (str(uuid.uuid4()) for _ in range(3))
    registry.peers.run_owners = {
        mine: registry.user_id,
        theirs: str(uuid.uuid4()),
        trained: registry.user_id,
    }
    pending = await registry.upload(a_file(), run_id=mine, caller=registry.user)
    committed = await registry.commit(pending, caller=registry.user)
    assert (committed.owner_id, committed.epoch, committed.job_id) == (registry.user_id, 0, "")
    for run_id in (theirs, str(uuid.uuid4())):
        async with refused("RUN_NOT_FOUND", "NOT_FOUND"):
            await registry.upload(a_file(), run_id=run_id, caller=registry.user)
    pending = await registry.upload(a_file(), run_id=trained)
    async with refused("RUN_HAS_WORKER", "FAILED_PRECONDITION"):
        await registry.upload(a_file(), run_id=trained, caller=registry.user)
    async with refused("RUN_HAS_WORKER"):
        await registry.commit(pending, caller=registry.user)


async def test_metrics_have_names_that_people_can_read(registry: Registry) -> None:
    pending = await registry.upload(a_file())
    for metrics in (
        {"": 1.0},
        {"a\x00b": 1.0},
        {"x" * 129: 1.0},
        dict.fromkeys(map(str, range(201)), 1.0),
    ):
        async with refused("INVALID_FIELD", "INVALID_ARGUMENT") as refusal:
            await registry.commit(pending, metrics=metrics)
        assert refusal[0].field == "metrics"


# -- best, load, delete


async def test_the_star_moves_upward_only(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    best = []
    for iteration, reward in enumerate((1.0, 3.0, 2.0, float("nan"), 4.0)):
        pending = await registry.upload(a_file(iteration=iteration), run_id=run_id)
        await registry.commit(pending, metrics={"reward": reward}, best_metric="reward")
        (starred,) = await listed(registry, run_id=run_id, best_only=True)
        best.append(starred.metrics["reward"])
    assert best == [1.0, 3.0, 3.0, 3.0, 4.0]


async def test_a_smaller_loss_can_be_better(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    for iteration, loss in enumerate((2.0, 1.0, 3.0)):
        pending = await registry.upload(a_file(iteration=iteration), run_id=run_id)
        await registry.commit(
            pending, metrics={"loss": loss}, best_metric="loss", lower_is_better=True
        )
    (starred,) = await listed(registry, run_id=run_id, best_only=True)
    assert starred.metrics["loss"] == 1.0
    pending = await registry.upload(a_file(iteration=9), run_id=run_id)
    async with refused("INVALID_FIELD"):
        await registry.commit(pending, metrics={"loss": 1.0}, best_metric="reward")


async def test_racing_commits_leave_one_star(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    pending = [
        await registry.upload(a_file(iteration=iteration), run_id=run_id) for iteration in range(10)
    ]
    await asyncio.gather(
        *[
            registry.commit(
                checkpoint, metrics={"reward": checkpoint.iteration}, best_metric="reward"
            )
            for checkpoint in pending
        ]
    )
    (starred,) = await listed(registry, run_id=run_id, best_only=True)
    assert starred.iteration == 9


async def test_a_person_moves_the_star(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    first, second = [await registry.a_checkpoint(run_id=run_id, iteration=n) for n in (1, 2)]
    for checkpoint in (second, first):
        starred = await registry.checkpoints.MarkBestCheckpoint(
            pb.MarkBestCheckpointRequest(id=checkpoint.id), metadata=registry.user
        )
        assert starred.is_best
        assert [item.id for item in await listed(registry, best_only=True)] == [checkpoint.id]
    pending = await registry.upload(a_file(), run_id=run_id)
    async with refused("CHECKPOINT_NOT_COMMITTED"):
        await registry.checkpoints.MarkBestCheckpoint(
            pb.MarkBestCheckpointRequest(id=pending.id), metadata=registry.user
        )


async def test_a_load_is_counted_and_checks_the_signature(registry: Registry) -> None:
    checkpoint = await registry.a_checkpoint()
    fitting = checkpoint_pb2.Signature(observation_shape=[4, 36, 64], algorithm="DQN")
    for loads in (1, 2):
        loaded = await registry.checkpoints.LoadCheckpoint(
            pb.LoadCheckpointRequest(id=checkpoint.id, expected=fitting), metadata=registry.user
        )
        assert loaded.load_count == loads
        assert loaded.checkpoint.id == checkpoint.id
    assert loaded.download_path == f"/api/v1/checkpoints/{checkpoint.id}/download"
    async with refused("SIGNATURE_MISMATCH", "FAILED_PRECONDITION") as refusal:
        await registry.checkpoints.LoadCheckpoint(
            pb.LoadCheckpointRequest(
                id=checkpoint.id,
                expected=checkpoint_pb2.Signature(observation_shape=[3, 36, 64]),
            ),
            metadata=registry.user,
        )
    assert "4x36x64" in refusal[0].message
    pending = await registry.upload(a_file())
    async with refused("CHECKPOINT_NOT_COMMITTED"):
        await registry.checkpoints.LoadCheckpoint(
            pb.LoadCheckpointRequest(id=pending.id), metadata=registry.user
        )


async def test_a_published_checkpoint_is_not_deleted(registry: Registry) -> None:
    content = a_file()
    checkpoint = await registry.commit(await registry.upload(content))
    twin = await registry.upload(content)
    version = await registry.a_version(await registry.a_model("keeper"), checkpoint=checkpoint)
    request = pb.DeleteCheckpointRequest(id=checkpoint.id)
    async with refused("CHECKPOINT_IN_USE", "FAILED_PRECONDITION") as refusal:
        await registry.checkpoints.DeleteCheckpoint(request, metadata=registry.user)
    assert refusal[0].metadata["references"] == "keeper@1"
    await registry.versions.DeleteVersion(
        version_service_pb2.DeleteVersionRequest(id=version.id), metadata=registry.user
    )
    await registry.checkpoints.DeleteCheckpoint(request, metadata=registry.user)
    assert len(files_of(registry)) == 1
    await registry.checkpoints.DeleteCheckpoint(
        pb.DeleteCheckpointRequest(id=twin.id), metadata=registry.user
    )
    await assert_nothing_stored(registry)


async def test_deleting_and_uploading_the_same_file_never_loses_it(registry: Registry) -> None:
    run_id, content = str(uuid.uuid4()), a_file()
    checkpoint = await registry.upload(content, run_id=run_id)
    for _ in range(25):
        await asyncio.gather(
            registry.checkpoints.DeleteCheckpoint(
                pb.DeleteCheckpointRequest(id=checkpoint.id), metadata=registry.user
            ),
            registry.upload(content, run_id=run_id),
        )
        checkpoint = await registry.upload(content, run_id=run_id)
        assert path_of(registry, digest_of(content)).read_bytes() == content


# -- download


async def test_a_download_is_whole_and_says_what_it_is(registry: Registry) -> None:
    content = a_file(weights=800_000)
    checkpoint = await registry.commit(await registry.upload(content))
    headers, received = await download(registry, checkpoint.id)
    assert received == content
    sha256 = digest_of(content)
    assert headers["http-content-length"] == str(len(content))
    assert headers["http-etag"] == f'"{sha256}"'
    assert headers["http-digest"] == f"sha-256={sha256}"
    assert headers["http-content-disposition"].endswith('.safetensors"')
    assert "http-status" not in headers


async def test_a_range_is_a_part_of_the_file(registry: Registry) -> None:
    content = a_file(weights=800_000)
    checkpoint = await registry.commit(await registry.upload(content))
    for byte_range, part in (
        ("bytes=0-9", content[:10]),
        ("bytes=1048570-2097160", content[1048570:2097161]),
        ("bytes=-5", content[-5:]),
        (f"bytes={len(content) - 1}-", content[-1:]),
    ):
        headers, received = await download(registry, checkpoint.id, byte_range=byte_range)
        assert received == part
        assert headers["http-status"] == "206"
        assert headers["http-content-length"] == str(len(part))
        assert headers["http-content-range"].endswith(f"/{len(content)}")
    async with refused("RANGE_NOT_SATISFIABLE", "OUT_OF_RANGE"):
        await download(registry, checkpoint.id, byte_range=f"bytes={len(content)}-")


async def test_a_version_is_downloaded_under_its_name(registry: Registry) -> None:
    content = a_file()
    checkpoint = await registry.commit(await registry.upload(content))
    version = await registry.a_version(await registry.a_model("agent"), checkpoint=checkpoint)
    call = registry.versions.DownloadVersion(
        version_service_pb2.DownloadVersionRequest(id=version.id),
        metadata=registry.tokens.user(),
    )
    received = b"".join([piece.data async for piece in call])
    headers = dict(await call.initial_metadata())
    assert headers["http-digest"] == f"sha-256={hashlib.sha256(received).hexdigest()}"
    assert 'filename="agent-1.safetensors"' in headers["http-content-disposition"]


async def test_a_checkpoint_is_its_owners_until_it_is_published(registry: Registry) -> None:
    checkpoint = await registry.a_checkpoint()
    stranger = registry.tokens.user()
    referee = registry.worker(str(uuid.uuid4()), user_id=str(uuid.uuid4()))
    for caller in (stranger, referee):
        async with refused("CHECKPOINT_NOT_FOUND", "NOT_FOUND"):
            await download(registry, checkpoint.id, caller)
    assert await listed(registry, stranger) == []
    own_referee = registry.worker(str(uuid.uuid4()))
    for caller in (own_referee, registry.tokens.admin(), registry.tokens.service("evaluator")):
        await download(registry, checkpoint.id, caller)
    await registry.a_version(await registry.a_model(private=True), checkpoint=checkpoint)
    async with refused("CHECKPOINT_NOT_FOUND"):
        await download(registry, checkpoint.id, stranger)
    await registry.a_version(await registry.a_model(), checkpoint=checkpoint)
    for caller in (stranger, referee):
        await download(registry, checkpoint.id, caller)


# -- damage


async def test_nobody_receives_all_of_a_damaged_file(registry: Registry) -> None:
    content = a_file(weights=800_000)
    checkpoint = await registry.commit(await registry.upload(content))
    flip_a_byte(path_of(registry, digest_of(content)))
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await download(registry, checkpoint.id)
    assert failure.value.code() is grpc.StatusCode.DATA_LOSS
    assert len(failure.value.received) < len(content)
    now = await registry.checkpoint(checkpoint.id)
    assert now.state == checkpoint_pb2.CHECKPOINT_STATE_CORRUPT
    assert now.corrupt_reason
    async with refused("CHECKPOINT_CORRUPT", "DATA_LOSS"):
        await registry.a_version(await registry.a_model(), checkpoint=checkpoint)


async def test_a_damaged_file_is_not_loaded_ranged_or_promoted(registry: Registry) -> None:
    checkpoint = await registry.a_checkpoint(weights=300_000)
    version = await registry.a_version(await registry.a_model(), checkpoint=checkpoint)
    flip_a_byte(path_of(registry, checkpoint.artifact.sha256))
    async with refused("CHECKPOINT_CORRUPT"):
        await download(registry, checkpoint.id, byte_range="bytes=0-9")
    async with refused("CHECKPOINT_CORRUPT"):
        await registry.checkpoints.LoadCheckpoint(
            pb.LoadCheckpointRequest(id=checkpoint.id), metadata=registry.user
        )
    async with refused("CHECKPOINT_CORRUPT", "DATA_LOSS"):
        await registry.promote(version)
    assert not (await registry.model(version.model_id)).HasField("stable_version")


async def test_a_scrub_finds_one_flipped_bit_and_an_upload_heals_it(registry: Registry) -> None:
    run_id, content = str(uuid.uuid4()), a_file()
    checkpoint = await registry.commit(await registry.upload(content, run_id=run_id))
    whole = await registry.a_checkpoint()
    sha256 = digest_of(content)
    flip_a_byte(path_of(registry, sha256))

    async def scrub() -> pb.ScrubArtifactsResponse:
        return await registry.checkpoints.ScrubArtifacts(
            pb.ScrubArtifactsRequest(), metadata=registry.tokens.admin()
        )

    found = await scrub()
    assert (found.read_count, list(found.corrupt_sha256s)) == (2, [sha256])
    assert (await registry.checkpoint(checkpoint.id)).state == (
        checkpoint_pb2.CHECKPOINT_STATE_CORRUPT
    )
    assert (await registry.checkpoint(whole.id)).state == (
        checkpoint_pb2.CHECKPOINT_STATE_COMMITTED
    )
    await registry.upload(content, run_id=run_id)
    assert (await registry.checkpoint(checkpoint.id)).state == (
        checkpoint_pb2.CHECKPOINT_STATE_COMMITTED
    )
    assert list((await scrub()).corrupt_sha256s) == []
    async with refused("ROLE_MISSING", "PERMISSION_DENIED"):
        await registry.checkpoints.ScrubArtifacts(
            pb.ScrubArtifactsRequest(), metadata=registry.user
        )


async def test_a_sweep_removes_what_nobody_needs(registry: Registry) -> None:
    kept = await registry.a_checkpoint()
    await registry.upload(a_file())
    orphan = path_of(registry, "ab" * 32)
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"left by a crash")
    (root_of(registry) / ".staging" / "left.part").write_bytes(b"half")
    await impatient(registry).sweep()
    assert files_of(registry) == {path_of(registry, kept.artifact.sha256)}
    assert [item.id for item in await listed(registry)] == [kept.id]
    assert await count(registry, "checkpoints") == 1


# -- the bus


async def test_events_go_out_and_decisions_come_in(
    service_environment: Environment, tokens: Tokens, nats_server: Any
) -> None:
    async with a_registry(service_environment, tokens, nats_url=nats_server.url) as registry:
        version = await registry.a_version(await registry.a_model())
        sent = "SELECT count(*) FROM outbox WHERE sent_time IS NOT NULL"

        async def is_sent() -> bool:
            async with registry.running.context.sessions() as session:
                return await session.scalar(text(sent)) == 2

        await eventually(is_sent)
        event = evaluator_events.GateDecided(
            decision_id=str(uuid.uuid4()),
            model_id=version.model_id,
            checkpoint_id=version.checkpoint_id,
            passed=True,
        )
        event.decide_time.GetCurrentTime()
        await publish(nats_server, event, about=event.decision_id)

        async def is_known() -> bool:
            return await count(registry, "decisions") == 1

        await eventually(is_known)
        promotion = await registry.promote(version, decision_id=event.decision_id)
        assert promotion.decision_id == event.decision_id


async def publish(broker: Any, event: Any, *, about: str) -> None:
    """Publish as the evaluator would."""
    import nats  # noqa: PLC0415

    client = await nats.connect(
        broker.url,
        user="evaluator",
        password=broker.password("evaluator"),
        inbox_prefix=b"_INBOX_evaluator",
    )
    await client.jetstream().publish(
        f"{event.DESCRIPTOR.full_name}.{about}", event.SerializeToString()
    )
    await client.close()
