"""What a service is told from outside, read once at start from `ELODROME_…` variables.

Secrets may lie in files instead: ELODROME_SECRETS_DIR names a directory whose files are named
after settings, such as `database_password`. Variables show in crash dumps and to child processes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, cast
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic.fields import FieldInfo

SERVICES = ("gateway", "registry", "executor", "evaluator", "sessions")
_FIRST_GRPC_PORT = 50050
_FIRST_HEALTH_PORT = 50060
_FIRST_METRICS_PORT = 9100
_EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - compared with, not listened on


def default_grpc_port(service: str) -> int:
    """Return the fixed port a service listens on unless told otherwise."""
    return _FIRST_GRPC_PORT + SERVICES.index(service)


def default_health_port(service: str) -> int:
    """Return the fixed port where a service that speaks TLS answers probes, which do not."""
    return _FIRST_HEALTH_PORT + SERVICES.index(service)


TLS_FILES = ("tls.crt", "tls.key", "ca.crt")
"""What the files of `tls_dir` are called, as in the Secrets that cert-manager writes."""


def _with_certificates(directory: Path) -> Path:
    """Let a directory pass whose certificate, key and authority fit; raise ValueError."""
    # Imported here: most installs do without.
    from kit import tls  # noqa: PLC0415

    tls.read(directory)
    return directory


TlsDirectory = Annotated[Path, AfterValidator(_with_certificates)]
"""A directory with tls.crt, tls.key and ca.crt, which were read and fit together."""


class _PerService(PydanticBaseSettingsSource):
    """Settings whose variable names a service, such as ELODROME_REGISTRY_GRPC_PORT."""

    def get_field_value(
        self,
        field: FieldInfo,  # noqa: ARG002 - part of the interface
        field_name: str,
    ) -> tuple[Any, str, bool]:
        """Return nothing: these variables are not one per field."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return this service's ports and every service's address, where they are set."""
        service = cast("type[ServiceSettings]", self.settings_cls).service
        found: dict[str, Any] = {}
        for name in ("grpc_port", "metrics_port", "health_port"):
            if value := os.environ.get(f"ELODROME_{service}_{name}".upper()):
                found[name] = value
        found["addresses"] = {
            peer: address for peer in SERVICES if (address := _address_in_environment(peer))
        }
        return found


def _address_in_environment(service: str) -> str:
    prefix = f"ELODROME_{service.upper()}"
    if address := os.environ.get(f"{prefix}_ADDRESS"):
        return address
    port = os.environ.get(f"{prefix}_GRPC_PORT")
    return f"127.0.0.1:{port}" if port else ""


class Settings(BaseSettings):
    """What a program reads from `ELODROME_…` variables, then from files of secrets."""

    model_config = SettingsConfigDict(
        env_prefix="ELODROME_", env_ignore_empty=True, frozen=True, extra="forbid"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over variables, which win over files."""
        files = SecretsSettingsSource(
            settings_cls, secrets_dir=os.environ.get("ELODROME_SECRETS_DIR") or None, env_prefix=""
        )
        return init_settings, env_settings, files

    @classmethod
    def load(cls) -> Self:
        """Read the settings from outside; raise ValidationError naming what is wrong."""
        values: dict[str, Any] = {}
        return cls(**values)


def explain(program: str, error: ValidationError) -> str:
    """Return what keeps a program from starting: a line for each wrong setting, named."""
    lines = [
        f"ELODROME_{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}"
        for problem in error.errors()
    ]
    return "\n".join([f"{program} cannot start:", *lines])


class DatabaseSettings(Settings):
    """Where the tables of a service are."""

    database_url: str = Field(repr=False)
    """URL of Postgres, `postgresql+psycopg://…`; the role's search_path names its schema."""
    database_password: str = Field(default="", repr=False)
    """Password of the role, put into a URL that names a user and no password."""

    def model_post_init(self, _context: object) -> None:
        """Put the password into the URL."""
        if self.database_password:
            url = _with_password(self.database_url, self.database_password)
            object.__setattr__(self, "database_url", url)


def _with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    if not parts.username or parts.password is not None:
        raise ValueError("database_url: beside database_password it names a user and no password")
    user, _, place = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}").geturl()


class ServiceSettings(DatabaseSettings):
    """The settings every service has. A subclass names its `service` and adds its own fields."""

    service: ClassVar[str]

    database_pool_size: int = Field(default=10, ge=2, le=50)
    """Most connections open at once; those not in use are closed by the server after a while."""
    database_timeout_s: float = Field(default=2.0, ge=0.5, le=60)
    """Seconds that a request waits for a connection, about, before it is told UNAVAILABLE."""
    nats_url: str = ""
    """`nats://host:port` of the event bus. Empty: events wait in the outbox."""
    nats_user: str = ""
    """User at the event bus; also the prefix of this service's reply subjects."""
    nats_password: str = Field(default="", repr=False)
    """Password at the event bus."""
    keys_dir: Path
    """Directory with jwks.json (public keys of all) and this service's private key."""
    bind_host: str = "127.0.0.1"
    """Address the service listens on; a pod sets 0.0.0.0."""
    grpc_port: int = Field(default=-1, ge=-1, le=65535)
    """gRPC port, from ELODROME_<SERVICE>_GRPC_PORT; 0 takes a free one."""
    metrics_port: int = Field(default=-1, ge=-1, le=65535)
    """Prometheus port, from ELODROME_<SERVICE>_METRICS_PORT; 0 turns it off."""
    tls_dir: TlsDirectory | None = None
    """Directory with tls.crt, tls.key and ca.crt: calls between services then go over TLS, and
    only peers with a certificate of that authority get in. Without one calls are plain."""
    health_port: int = Field(default=-1, ge=-1, le=65535)
    """Port of health without TLS, from ELODROME_<SERVICE>_HEALTH_PORT, where calls are not plain;
    0 turns it off."""
    addresses: dict[str, str] = Field(default_factory=dict)
    """Where peers listen, `host:port` by service name, from ELODROME_<SERVICE>_ADDRESS."""
    http_port: int = Field(default=8080, ge=0, le=65535)
    """REST port of the gateway."""
    artifacts_url: str = ""
    """Object store of the registry, such as file:///var/lib/elodrome/artifacts."""
    profile: Literal["laptop", "cluster"] = "cluster"
    """Where this install runs."""
    reflection: bool = False
    """Whether gRPC reflection answers without a token."""
    home: Path = Path(".elodrome")
    """Directory of a laptop install's state."""
    otlp_endpoint: str = Field(default="", pattern=r"^(https?://[^\s/]+/?)?$")
    """http://host:port of an OpenTelemetry collector, OTLP over HTTP; empty makes no spans."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe log line that is written."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        *sources: PydanticBaseSettingsSource,
        **named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Variables that name the service win over the others."""
        first, *others = super().settings_customise_sources(settings_cls, *sources, **named)
        return first, _PerService(settings_cls), *others

    def model_post_init(self, context: object) -> None:
        """Fill in the fixed ports of this service."""
        super().model_post_init(context)
        first = {
            "grpc_port": _FIRST_GRPC_PORT,
            "metrics_port": _FIRST_METRICS_PORT,
            "health_port": _FIRST_HEALTH_PORT,
        }
        for name, port in first.items():
            if getattr(self, name) < 0:
                object.__setattr__(self, name, port + SERVICES.index(self.service))

    def address_of(self, service: str) -> str:
        """Return `host:port` of a service: as configured, else its fixed port on this host."""
        return self.addresses.get(service) or f"127.0.0.1:{default_grpc_port(service)}"

    def name_of(self, service: str) -> str:
        """Return the host by which peers know a service, as its certificate has it."""
        # gRPC lets an address begin with how it is resolved, such as dns://server/.
        return self.address_of(service).rpartition("/")[2].rpartition(":")[0].strip("[]")

    @property
    def own_address(self) -> str:
        """Return where the service finds itself, which is not among the pods of its name."""
        if self.grpc_port == 0:
            return self.address_of(self.service)
        host = "127.0.0.1" if self.bind_host == _EVERY_ADDRESS else self.bind_host
        return f"{host}:{self.grpc_port}"
