"""What the worker of an attempt was made of; told by the worker itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elodrome.executor.v1 import provenance_pb2
from sqlalchemy import ForeignKey, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from kit import errors, parse
from kit.db import Base, CreateTime, Json
from services.executor.models.messages import stamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from services.executor.models.job import Job

MAX_DIFF_BYTES = 256 << 10
_MAX_PACKAGES = 2000
_MAX_TEXT = 200
_MAX_COUNT = 1 << 20
_TEXTS = ("commit", "python_version", "platform", "cpu_model", "gpu", "image_digest")


class Provenance(Base):
    """Code, packages and machine of one attempt. A table of its own: the diff may be long."""

    __tablename__ = "provenances"

    run_id: Mapped[str] = mapped_column(
        Uuid(as_uuid=False), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True
    )
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    commit: Mapped[str]
    is_dirty: Mapped[bool]
    diff: Mapped[str]
    is_diff_truncated: Mapped[bool]
    packages: Mapped[Json]
    python_version: Mapped[str]
    platform: Mapped[str]
    cpu_model: Mapped[str]
    cpu_count: Mapped[int]
    torch_threads: Mapped[int]
    gpu: Mapped[str]
    image_digest: Mapped[str]
    create_time: Mapped[CreateTime]

    def to_proto(self) -> provenance_pb2.Provenance:
        """Return the provenance as others see it."""
        return provenance_pb2.Provenance(
            run_id=self.run_id,
            attempt=self.attempt,
            commit=self.commit,
            dirty=self.is_dirty,
            diff=self.diff,
            diff_truncated=self.is_diff_truncated,
            packages=self.packages,
            python_version=self.python_version,
            platform=self.platform,
            cpu_model=self.cpu_model,
            cpu_count=self.cpu_count,
            torch_threads=self.torch_threads,
            gpu=self.gpu,
            image_digest=self.image_digest,
            create_time=stamp(self.create_time),
        )


def told(job: Job, said: provenance_pb2.Provenance) -> Provenance:
    """Return what a worker says about its attempt, checked; raise INVALID_ARGUMENT."""
    texts = {
        name: parse.text(getattr(said, name), name, max_length=_MAX_TEXT, min_length=0)
        for name in _TEXTS
    }
    return Provenance(
        run_id=job.run_id,
        attempt=job.attempt,
        is_dirty=said.dirty,
        diff=_diff(said.diff),
        is_diff_truncated=said.diff_truncated,
        packages=_packages(said.packages),
        cpu_count=parse.integer(said.cpu_count, "cpu_count", minimum=0, maximum=_MAX_COUNT),
        torch_threads=parse.integer(
            said.torch_threads, "torch_threads", minimum=0, maximum=_MAX_COUNT
        ),
        **texts,
    )


def _diff(value: str) -> str:
    # The length in characters is checked first, so that nothing long is encoded.
    if len(value) > MAX_DIFF_BYTES or len(value.encode()) > MAX_DIFF_BYTES:
        raise errors.invalid_argument("diff", f"must be at most {MAX_DIFF_BYTES} bytes")
    if "\0" in value:
        raise errors.invalid_argument("diff", "must not hold NUL characters")
    return value


def _packages(packages: Mapping[str, str]) -> dict[str, Any]:
    if len(packages) > _MAX_PACKAGES:
        raise errors.invalid_argument("packages", f"must be at most {_MAX_PACKAGES}")
    return {
        parse.text(name, "packages", max_length=_MAX_TEXT): parse.text(
            version, f"packages.{name}", max_length=_MAX_TEXT, min_length=0
        )
        for name, version in packages.items()
    }
