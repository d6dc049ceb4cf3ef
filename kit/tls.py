"""TLS between services, both ways: what this process shows of itself, and whom it lets in.

A certificate lets a peer in and no more: who calls, and what they may do, is said by their token.
Files that change are taken up without a restart, by every connection that is made from then on.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from prometheus_client import Gauge

from kit.settings import TLS_FILES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Rpc = Callable[..., Any]
    OpenChannel = Callable[[grpc.ChannelCredentials], grpc.aio.Channel]

CERTIFICATE, KEY, AUTHORITY = TLS_FILES

logger = structlog.get_logger("kit.tls")
expires = Gauge(
    "elodrome_certificate_expires_timestamp_seconds",
    "When what this service shows its peers expires; absent where calls are plain",
)


class Identity(NamedTuple):
    """What a process shows and believes, in PEM.

    `certificate` is its own and those between it and the authority, in this order; `authority`
    may be several.
    """

    certificate: bytes
    key: bytes
    authority: bytes
    expire_time: datetime


def read(directory: Path) -> Identity:
    """Return what lies in a directory; raise ValueError naming the file that is of no use."""
    certificate, key, authority = (_content(directory / name) for name in TLS_FILES)
    chain = _certificates(directory / CERTIFICATE, certificate)
    authorities = _certificates(directory / AUTHORITY, authority)
    try:
        own = load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{directory / KEY}: is no private key in PEM: {error}") from error
    if own.public_key() != chain[0].public_key():
        raise ValueError(f"{directory / KEY}: is not the key of {CERTIFICATE}")
    leads_up = all(_issued(one, by) for one, by in pairwise(chain))
    if not leads_up or not any(_issued(chain[-1], each) for each in authorities):
        raise ValueError(f"{directory / CERTIFICATE}: does not lead up to one of {AUTHORITY}")
    expire_time = min(each.not_valid_after_utc for each in chain)
    if expire_time <= datetime.now(UTC):
        raise ValueError(f"{directory / CERTIFICATE}: has expired, on {expire_time:%Y-%m-%d}")
    return Identity(certificate, key, authority, expire_time)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error


def _certificates(path: Path, content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise ValueError(f"{path}: holds no certificate in PEM: {error}") from error


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return certificate == authority
    return True


class Certificates:
    """The files of a directory as they are now, from any thread.

    Files that are of no use, perhaps because they are just being written, leave what was there
    before in place. Raises ValueError, as `read` does, where nothing was.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._paths = [str(directory / name) for name in TLS_FILES]
        self._seen = self._state()
        self._current = read(directory)
        # Read whenever somebody looks, as a service that nobody calls has no other reason to.
        expires.set_function(self._expires)

    def current(self) -> Identity:
        """Return what to show and to believe from now on: the same object until a file changes."""
        state = self._state()
        if state != self._seen:
            self._seen = state
            try:
                self._current = read(self._directory)
            except ValueError as error:
                logger.error("certificate_refused", error=str(error))  # noqa: TRY400 - no bug
            else:
                logger.info("certificate_renewed", expires=str(self._current.expire_time))
        return self._current

    def server_credentials(self) -> grpc.ServerCredentials:
        """Return what makes a port demand a certificate of the authority, and show its own."""
        shown = self.current()

        def changed() -> Any:  # noqa: ANN401 - a class that grpc does not export
            nonlocal shown
            current = self.current()
            if current is shown:
                return None
            shown = current
            return _configuration(current)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(shown), changed, require_client_authentication=True
        )

    def channel(self, open_channel: OpenChannel) -> grpc.aio.Channel:
        """Return a channel to peers of the authority, which goes on when the files change."""
        return _RenewedChannel(self, open_channel)

    def _expires(self) -> float:
        return self.current().expire_time.timestamp()

    def _state(self) -> list[tuple[int, int, int] | None]:
        return [_file_state(path) for path in self._paths]


def _file_state(path: str) -> tuple[int, int, int] | None:
    """Return what differs once a file was written or replaced."""
    try:
        found = os.stat(path)  # noqa: PTH116 - before every call, and four times as fast
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _configuration(identity: Identity) -> Any:  # noqa: ANN401 - a class that grpc does not export
    pairs = [(identity.key, identity.certificate)]
    return grpc.ssl_server_certificate_configuration(pairs, identity.authority)


class _RenewedChannel(grpc.aio.Channel):
    """A channel that is opened anew once the certificate has changed, as gRPC's own keep theirs.

    Calls under way go on over the connection they have.
    """

    def __init__(self, certificates: Certificates, open_channel: OpenChannel) -> None:
        self._certificates = certificates
        self._open = open_channel
        self._shown = certificates.current()
        self._channel = self._opened()

    def _opened(self) -> grpc.aio.Channel:
        certificate, key, authority, _ = self._shown
        return self._open(grpc.ssl_channel_credentials(authority, key, certificate))

    def _now(self) -> grpc.aio.Channel:
        current = self._certificates.current()
        if current is not self._shown:
            self._shown = current
            # The one before is not closed, which would cancel its calls.
            self._channel = self._opened()
        return self._channel

    def unary_unary(self, *method: object, **how: object) -> Rpc:
        """Return an RPC, to be kept and called."""
        return self._rpc("unary_unary", method, how)

    def unary_stream(self, *method: object, **how: object) -> Rpc:
        """Return an RPC, to be kept and called."""
        return self._rpc("unary_stream", method, how)

    def stream_unary(self, *method: object, **how: object) -> Rpc:
        """Return an RPC, to be kept and called."""
        return self._rpc("stream_unary", method, how)

    def stream_stream(self, *method: object, **how: object) -> Rpc:
        """Return an RPC, to be kept and called."""
        return self._rpc("stream_stream", method, how)

    def _rpc(self, shape: str, method: tuple[object, ...], how: dict[str, object]) -> Rpc:
        def call(*request: object, **more: object) -> Any:  # noqa: ANN401 - a call of any shape
            channel = self._now()
            begun = getattr(channel, shape)(*method, **how)(*request, **more)
            # A channel lasts as long as its calls do.
            begun.add_done_callback(lambda _: channel)
            return begun

        return call

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Hang up."""
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002
        """Return the state of the connection."""
        return self._now().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Return once the state is another."""
        await self._now().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Return once connected."""
        await self._now().channel_ready()
