"""The way to the platform: who this worker is, whom it calls, and what to do when a call fails."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import grpc
from google.rpc import error_details_pb2, status_pb2

from trainer.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Answer = TypeVar("Answer")

CALL_TIMEOUT_S = 10.0
# Longer than a service takes to restart, shorter than anybody waits for a stuck run.
PATIENCE_S = 300.0
FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 5.0

_TLS_VARIABLE = "ELODROME_TLS_DIR"
_TLS_FILES = ("tls.crt", "tls.key", "ca.crt")
_DETAILS_KEY = "grpc-status-details-bin"
_TRANSIENT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
}

logger = logging.getLogger("trainer.platform")


class FencedError(Exception):
    """The job belongs to somebody else now; nothing this worker writes counts any more."""


class UnreachableError(Exception):
    """The platform did not answer for longer than a restart takes."""


class RefusedError(Exception):
    """The platform understood a call and refused it, which trying again cannot change."""


@dataclass(frozen=True)
class Surroundings:
    """What the executor gave this process."""

    job_token: str
    executor_address: str
    registry_address: str
    work_dir: Path
    traceparent: str = ""
    """The trace that this worker is a part of, as the W3C's Trace Context writes it."""

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment; raises ConfigError naming a missing variable."""
        return cls(
            job_token=variable("ELODROME_JOB_TOKEN"),
            executor_address=variable("ELODROME_EXECUTOR_ADDRESS"),
            registry_address=variable("ELODROME_REGISTRY_ADDRESS"),
            work_dir=Path(variable("ELODROME_WORK_DIR")),
            traceparent=os.environ.get("TRACEPARENT", ""),
        )


@dataclass
class Credential:
    """The token every call carries; heartbeats replace it while other threads use it."""

    token: str
    traceparent: str = ""

    def metadata(self, *, recorded: bool = True) -> list[tuple[str, str]]:
        """Compose the metadata of a call made now: who calls, and within which trace.

        Calls that come all the time belong to the trace too, but would bury everything else in it
        if they were recorded.
        """
        metadata = [("authorization", f"Bearer {self.token}")]
        if self.traceparent:
            trace = self.traceparent if recorded else f"{self.traceparent[:-2]}00"
            metadata.append(("traceparent", trace))
        return metadata


@dataclass
class Retry:
    """Tries again while a call fails for reasons that pass, up to `patience_s` in one go.

    `halt` ends the waiting early: setting it makes the call under way its last try.
    """

    patience_s: float = PATIENCE_S
    halt: threading.Event = field(default_factory=threading.Event)

    def __call__(self, what: str, attempt: Callable[[], Answer]) -> Answer:
        """Answer what `attempt` answers in the end.

        Raises FencedError, RefusedError, or UnreachableError once patience has run out.
        """
        give_up_at = time.monotonic() + self.patience_s
        for backoff_s in _backoffs():
            try:
                return attempt()
            except grpc.RpcError as error:
                failure = _failure(what, error)
            if not isinstance(failure, UnreachableError):
                raise failure
            if time.monotonic() + backoff_s > give_up_at or self.halt.wait(backoff_s):
                raise failure
            logger.warning("%s; trying again", failure)
        raise AssertionError("backoffs never end")


def variable(name: str) -> str:
    """Read what the executor said; raises ConfigError where it did not."""
    if name not in os.environ:
        raise ConfigError(name, "is not set")
    return os.environ[name]


@contextlib.contextmanager
def channel(address: str) -> Iterator[grpc.Channel]:
    """Open a channel that finds its server again within two seconds of its return."""
    options = [
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # Names are asked again after 30 s otherwise, however often a connection is lost.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ]
    credentials = _credentials()
    if credentials is None:
        opening = grpc.insecure_channel(address, options=options)
    else:
        opening = grpc.secure_channel(address, credentials, options=options)
    with opening as opened:
        yield opened


def _credentials() -> grpc.ChannelCredentials | None:
    """Return what services that speak TLS want to see, as it is now; None where they do not.

    Raises ConfigError for a file that cannot be read.
    """
    directory = os.environ.get(_TLS_VARIABLE)
    if not directory:
        return None
    try:
        certificate, key, authority = (Path(directory, name).read_bytes() for name in _TLS_FILES)
    except OSError as error:
        raise ConfigError(_TLS_VARIABLE, f"{error.filename}: {error.strerror}") from error
    return grpc.ssl_channel_credentials(authority, key, certificate)


def reason_of(error: grpc.RpcError) -> str:
    """Read the stable reason of a refusal, such as STALE_EPOCH; empty where there is none."""
    metadata = {entry.key: entry.value for entry in error.trailing_metadata() or ()}
    for detail in status_pb2.Status.FromString(metadata.get(_DETAILS_KEY, b"")).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return ""


def _failure(what: str, error: grpc.RpcError) -> Exception:
    reason = reason_of(error)
    answer = filter(None, (error.code().name, reason, error.details()))
    text = f"{what}: {' '.join(answer)}"
    # A token that ran out belongs to a lease that ran out while the executor was away.
    if reason == "STALE_EPOCH" or error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return FencedError(text)
    if error.code() in _TRANSIENT:
        return UnreachableError(text)
    return RefusedError(text)


def _backoffs() -> Iterator[float]:
    """Double the wait up to the longest, with full jitter so that workers spread out."""
    longest_s = FIRST_BACKOFF_S
    while True:
        yield random.uniform(0, longest_s)  # noqa: S311 - nothing secret
        longest_s = min(2 * longest_s, LONGEST_BACKOFF_S)
