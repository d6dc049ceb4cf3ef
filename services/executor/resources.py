"""What a worker is given: what its run asks for, within what its owner may hold at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from elodrome.executor.v1 import run_pb2

from kit import errors, parse

if TYPE_CHECKING:
    from services.executor.settings import ExecutorSettings

_MAX_CPUS, _MAX_GPUS = 1024, 64
_MIN_MEMORY_BYTES, _MAX_MEMORY_BYTES = 64 << 20, 16 << 40


class Resources(NamedTuple):
    """CPUs, bytes of memory and GPUs; 0 is whatever the install gives."""

    cpus: float = 0.0
    memory_bytes: int = 0
    gpus: int = 0

    def to_proto(self) -> run_pb2.Resources:
        """Return them as others see them."""
        return run_pb2.Resources(**self._asdict())

    def or_else(self, others: Resources) -> Resources:
        """Return them with those of `others` where they say nothing."""
        return Resources(
            self.cpus or others.cpus,
            self.memory_bytes or others.memory_bytes,
            self.gpus or others.gpus,
        )

    def times(self, count: int) -> Resources:
        """Return what several workers are given together."""
        return Resources(self.cpus * count, self.memory_bytes * count, self.gpus * count)

    def plus(self, others: Resources) -> Resources:
        """Return the sum."""
        return Resources(
            self.cpus + others.cpus,
            self.memory_bytes + others.memory_bytes,
            self.gpus + others.gpus,
        )

    def excess(self, quota: Resources) -> str:
        """Return the first of them of which there is more than a quota has; 0 is without limit."""
        for name, own, most in zip(self._fields, self, quota, strict=True):
            if 0 < most < own:
                return name
        return ""


def read(asked: run_pb2.Resources, *, is_training: bool) -> Resources:
    """Return what a request asks for; raise INVALID_ARGUMENT naming the field that is wrong."""
    memory_bytes = parse.integer(
        asked.memory_bytes, "resources.memory_bytes", minimum=0, maximum=_MAX_MEMORY_BYTES
    )
    if 0 < memory_bytes < _MIN_MEMORY_BYTES:
        raise errors.invalid_argument(
            "resources.memory_bytes", f"must be 0 or at least {_MIN_MEMORY_BYTES}"
        )
    gpus = parse.integer(asked.gpus, "resources.gpus", minimum=0, maximum=_MAX_GPUS)
    if gpus and not is_training:
        raise errors.invalid_argument("resources.gpus", "only TRAINING runs may ask for GPUs")
    cpus = parse.number(asked.cpus, "resources.cpus", minimum=0, maximum=_MAX_CPUS)
    return Resources(cpus, memory_bytes, gpus)


def default(settings: ExecutorSettings, *, is_training: bool) -> Resources:
    """Return what the install gives a worker whose run asks for nothing."""
    gpus = settings.worker_gpus if is_training else 0
    return Resources(settings.worker_cpus, settings.worker_memory_bytes, gpus)


def quota(settings: ExecutorSettings) -> Resources:
    """Return what the workers of one owner may hold at once."""
    return Resources(settings.owner_cpus, settings.owner_memory_bytes, settings.owner_gpus)


def check_quota(given: Resources, worker_count: int, settings: ExecutorSettings) -> None:
    """Raise INVALID_ARGUMENT, naming the field, for a run that its owner could never start."""
    most = quota(settings)
    if name := given.times(worker_count).excess(most):
        limit = getattr(most, name)
        share = "" if worker_count == 1 else f" for {worker_count} workers together"
        rule = f"must be at most {limit}{share}, which is what one owner may hold at once"
        raise errors.invalid_argument(f"resources.{name}", rule, quota=limit)
