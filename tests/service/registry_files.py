"""What a registry keeps on disk, as tests see and harm it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from services.registry.artifacts import ArtifactStore
from services.registry.disposal import Disposal

if TYPE_CHECKING:
    from tests.service.registry_service import (
        Registry,
    )


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


async def assert_nothing_stored(registry: Registry) -> None:
    assert files_of(registry) == set()
    assert await registry.count("checkpoints") == 0
    assert await registry.count("artifacts") == 0


def impatient(registry: Registry) -> Disposal:
    """The registry's own removal of leftovers, without its grace."""
    settings = registry.running.context.settings.model_copy(
        update={"orphan_grace_s": 0, "pending_ttl_s": 0}
    )
    store = ArtifactStore(settings.store_url, settings.home / "staging")
    return Disposal(settings, registry.running.context.sessions, store)
