"""What an operator can tell the registry."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from kit.settings import ServiceSettings


class RegistrySettings(ServiceSettings):
    """Settings of the registry, on top of those that every service has."""

    service: ClassVar[str] = "registry"

    artifacts_access_key_id: str = ""
    """Access key of an S3 store; empty where the pod has an identity of its own."""
    artifacts_secret_access_key: str = Field(default="", repr=False)
    """Secret that belongs to the access key."""
    staging_dir: Path | None = None
    """Where uploads are written before they are stored; below the artifacts by default."""
    max_checkpoint_bytes: int = Field(default=2 << 30, ge=1)
    """Largest file accepted, in bytes."""
    max_uploads: int = Field(default=16, ge=1, le=256)
    """Uploads served at the same time; one more is asked to come back."""
    upload_idle_s: float = Field(default=60, gt=0)
    """Longest silence within an upload, in seconds."""
    custom_tags: tuple[str, ...] = ()
    """Version tags beyond candidate, stable, archived and experimental."""
    sweep_interval_s: float = Field(default=600, gt=0)
    """Seconds between two removals of what nothing refers to."""
    orphan_grace_s: float = Field(default=3600, ge=0)
    """Age in seconds at which a stored file or a staged upload without owner is removed."""
    pending_ttl_s: float = Field(default=24 * 3600, ge=0)
    """Age in seconds at which an uploaded checkpoint that nobody committed is removed."""
    scrub_interval_s: float = Field(default=3600, gt=0)
    """Seconds between two looks for files that are due for verification."""
    scrub_age_s: float = Field(default=7 * 24 * 3600, ge=0)
    """Seconds after which a stored file is read and compared with its digest again."""

    @property
    def store_url(self) -> str:
        """URL of the object store: as configured, else a directory of this install."""
        return self.artifacts_url or (self.home.resolve() / "artifacts").as_uri()

    @property
    def store_credentials(self) -> dict[str, str]:
        """What the object store is opened with, beside what its own `AWS_…` variables say."""
        named = {
            "access_key_id": self.artifacts_access_key_id,
            "secret_access_key": self.artifacts_secret_access_key,
        }
        return {name: value for name, value in named.items() if value}
