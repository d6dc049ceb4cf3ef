"""One behaviour over two stores: a local directory, and S3's protocol."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from kit.errors import RpcError
from services.registry.artifacts import ArtifactStore
from tests.service import object_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

CONTENT = os.urandom(20 << 20)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[object_store.ObjectStore]:
    with object_store.serving() as store:
        for name, value in {
            "AWS_ENDPOINT_URL": store.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        yield store


@pytest.fixture(params=["directory", "s3"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ArtifactStore]:
    url = (tmp_path / "artifacts").as_uri()
    if request.param == "s3":
        request.getfixturevalue("bucket")
        url = f"s3://{object_store.BUCKET}"
    opened = ArtifactStore(url, tmp_path / "staging")
    yield opened
    await opened.close()


async def put(store: ArtifactStore, content: bytes) -> str:
    async with store.staged(len(content)) as staged:
        await store.append(staged, [content[:1000], content[1000:]])
        sha256 = await store.finish(staged)
        await store.put(staged, sha256)
    return sha256


async def read(store: ArtifactStore, sha256: str, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in store.read(sha256, start, end)])


def files_below(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


async def listed(store: ArtifactStore) -> dict[str, int]:
    return {entry.sha256: entry.size_bytes async for batch in store.files() for entry in batch}


async def test_what_is_stored_is_read_back(store: ArtifactStore) -> None:
    assert await listed(store) == {}
    assert await put(store, CONTENT) == SHA256
    assert await store.size(SHA256) == len(CONTENT)
    assert await read(store, SHA256, 0, len(CONTENT)) == CONTENT
    assert await read(store, SHA256, 1_234_567, 5_000_000) == CONTENT[1_234_567:5_000_000]
    assert await store.damage(SHA256, len(CONTENT)) == ""
    assert await listed(store) == {SHA256: len(CONTENT)}


async def test_storing_again_replaces_and_deleting_again_is_allowed(store: ArtifactStore) -> None:
    small = b"x" * 5000
    sha256 = await put(store, small)
    assert await put(store, small) == sha256
    assert await listed(store) == {sha256: 5000}
    for _ in range(2):
        await store.delete(sha256)
    assert await store.size(sha256) is None
    assert await listed(store) == {}


async def test_damage_is_named(store: ArtifactStore) -> None:
    sha256 = await put(store, b"y" * 5000)
    assert await store.damage("0" * 64, 5000) == "the file is missing"
    assert await store.damage(sha256, 4999) == "it has 5000 bytes instead of 4999"


async def test_a_file_that_is_not_put_is_gone(store: ArtifactStore, tmp_path: Path) -> None:
    async with store.staged(0) as staged:
        await store.append(staged, [b"half"])
        assert staged.path.exists()
    assert not staged.path.exists()
    assert await listed(store) == {}
    assert files_below(tmp_path) == []


async def test_more_than_the_disk_holds_is_refused_at_once(store: ArtifactStore) -> None:
    with pytest.raises(RpcError) as refusal:
        async with store.staged(1 << 60):
            pytest.fail("a file was opened")
    assert refusal.value.reason == "STORAGE_FULL"


async def test_a_store_that_refuses_a_part_keeps_nothing(
    bucket: object_store.ObjectStore, tmp_path: Path
) -> None:
    bucket.refuse_part = 2
    store = ArtifactStore(f"s3://{object_store.BUCKET}", tmp_path)
    with pytest.raises(RpcError) as refusal:
        await put(store, CONTENT)
    assert refusal.value.reason == "STORAGE_UNAVAILABLE"
    assert bucket.objects == {}
    bucket.refuse_part = 0
    assert await put(store, CONTENT) == SHA256
    await store.close()


async def test_credentials_may_come_from_the_settings(
    bucket: object_store.ObjectStore, tmp_path: Path
) -> None:
    named = {"access_key_id": "from-a-file", "secret_access_key": "hidden"}
    store = ArtifactStore(f"s3://{object_store.BUCKET}", tmp_path, named)
    await put(store, CONTENT)
    await store.close()
    assert "Credential=from-a-file/" in bucket.authorization
