"""What the gateway is told from outside, beyond what every service is told."""

from __future__ import annotations

from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from kit.settings import ServiceSettings

_MIB = 1 << 20
_DAY_S = 86_400
_SAMPLE_PASSWORDS = {"elodrome", "postgres", "nats", "password", "secret", "admin", "changeme"}


class GatewaySettings(ServiceSettings):
    """Settings of the edge. Every default suits one machine."""

    service: ClassVar[str] = "gateway"

    public_url: str = ""
    """Address that browsers use, such as https://elodrome.example; `https` makes cookies Secure."""
    cors_origins: str = ""
    """Origins of other sites that may call the API, separated by commas; none by default."""
    trusted_proxies: str = ""
    """Addresses or networks whose X-Forwarded-For is believed, separated by commas."""
    commit: str = ""
    """Commit of this build, shown by `GET /api/v1/version`."""

    default_role: Literal["USER", "VIEWER", "PLAYER"] = "USER"
    """Role of a newly registered account."""
    access_token_ttl_s: int = Field(default=900, ge=1, le=_DAY_S)
    """Life of an access token."""
    refresh_token_ttl_s: int = Field(default=30 * _DAY_S, ge=1, le=365 * _DAY_S)
    """Life of a refresh token, and so of a session that is not used."""
    password_threads: int = Field(default=2, ge=1, le=16)
    """Passwords hashed at once."""
    password_memory_kib: int = Field(default=19_456, ge=64)
    """Memory that one argon2id hash takes; the default is what OWASP advises for two passes."""

    login_failures_per_minute_account: int = Field(default=5, ge=1)
    """Wrong passwords for one account before sign-in pauses."""
    login_failures_per_minute_address: int = Field(default=20, ge=1)
    """Wrong passwords from one address before sign-in from it pauses."""
    lockout_failures: int = Field(default=20, ge=1)
    """Wrong passwords in a row that lock an account."""
    lockout_s: int = Field(default=900, ge=1)
    """How long a locked account stays locked."""
    registrations_per_hour_address: int = Field(default=300, ge=1)
    """Accounts made from one address in an hour."""
    requests_per_minute: int = Field(default=6000, ge=1)
    """Requests of one account in a minute, all its sessions and keys together."""
    anonymous_requests_per_minute: int = Field(default=1200, ge=1)
    """Requests without credentials from one address in a minute."""

    body_limit_bytes: int = Field(default=_MIB, ge=1024)
    """Largest JSON body."""
    upload_limit_bytes: int = Field(default=2048 * _MIB + 64 * _MIB, ge=1024)
    """Largest streamed upload; the service behind it may allow less."""
    body_timeout_s: float = Field(default=30, gt=0)
    """Longest silence while a body is being received."""
    request_timeout_s: float = Field(default=30, gt=0)
    """Deadline of a call that is not a stream."""
    transfer_timeout_s: float = Field(default=3600, gt=0)
    """Deadline of an upload or download."""
    idempotency_ttl_s: int = Field(default=_DAY_S, ge=60)
    """How long an Idempotency-Key remembers its answer."""
    stream_ticket_ttl_s: int = Field(default=60, ge=1)
    """Life of a stream ticket that is not used."""

    stream_heartbeat_s: float = Field(default=15, gt=0)
    """Longest silence on an event stream before a heartbeat comment."""
    stall_s: float = Field(default=30, gt=0)
    """How long an event stream waits for a client that does not read before it is cut."""
    drain_s: int = Field(default=10, ge=1)
    """Time that requests get to finish when the gateway stops."""

    @property
    def allowed_origins(self) -> frozenset[str]:
        """Origins of other sites that may call the API with cookies."""
        return frozenset(o.strip().rstrip("/") for o in self.cors_origins.split(",") if o.strip())

    @model_validator(mode="after")
    def _refuse_sample_secrets(self) -> GatewaySettings:
        """Refuse to start a cluster with a password out of an example."""
        if self.profile == "cluster":
            passwords = {urlsplit(self.database_url).password or "", self.nats_password}
            if samples := sorted(passwords & _SAMPLE_PASSWORDS):
                raise ValueError(f"profile cluster refuses the sample password {samples[0]!r}")
        return self
