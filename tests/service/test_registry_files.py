"""Downloads, and what happens to damaged files and leftovers."""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING

import grpc
import pytest
from elodrome.registry.v1 import checkpoint_pb2, version_service_pb2
from elodrome.registry.v1 import checkpoint_service_pb2 as pb
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.service.registry_files import files_of, flip_a_byte, impatient, path_of, root_of
from tests.service.registry_service import Registry, a_file, digest_of, refused
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.tokens import Metadata


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
    assert await registry.listed(stranger) == []
    own_referee = registry.worker(str(uuid.uuid4()))
    for caller in (own_referee, registry.tokens.admin(), registry.tokens.service("evaluator")):
        await download(registry, checkpoint.id, caller)
    await registry.a_version(await registry.a_model(private=True), checkpoint=checkpoint)
    async with refused("CHECKPOINT_NOT_FOUND"):
        await download(registry, checkpoint.id, stranger)
    await registry.a_version(await registry.a_model(), checkpoint=checkpoint)
    for caller in (stranger, referee):
        await download(registry, checkpoint.id, caller)


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
    assert [item.id for item in await registry.listed()] == [kept.id]
    assert await registry.count("checkpoints") == 1


async def test_health_tells_of_a_store_that_is_gone_and_the_tables_go_on(
    registry: Registry,
) -> None:
    health = health_pb2_grpc.HealthStub(registry.running.channel)

    async def serves(name: str) -> bool:
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    assert await serves("storage")
    root = root_of(registry)
    aside = root.rename(root.with_name("unmounted"))

    async def is_told() -> bool:
        return not await serves("storage")

    await eventually(is_told)
    assert await serves("")
    assert (await registry.a_model()).id
    aside.rename(root)
    await eventually(lambda: serves("storage"))
