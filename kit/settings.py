"""What a service is told from outside, read once at start from `ELODROME_…` variables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

SERVICES = ("gateway", "registry", "executor", "evaluator", "sessions")
_FIRST_GRPC_PORT = 50050
_FIRST_METRICS_PORT = 9100


def default_grpc_port(service: str) -> int:
    """Return the fixed port a service listens on unless told otherwise."""
    return _FIRST_GRPC_PORT + SERVICES.index(service)


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
        for name in ("grpc_port", "metrics_port"):
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


class ServiceSettings(BaseSettings):
    """The settings every service has. A subclass names its `service` and adds its own fields."""

    model_config = SettingsConfigDict(
        env_prefix="ELODROME_", env_ignore_empty=True, frozen=True, extra="forbid"
    )

    service: ClassVar[str]

    database_url: str = Field(repr=False)
    """URL of Postgres, `postgresql+psycopg://…`; the role's search_path names its schema."""
    database_pool_size: int = Field(default=10, ge=2, le=50)
    """Most connections open at once; those not in use are closed by the server after a while."""
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
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe log line that is written."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over variables that name the service, which win over the others."""
        return init_settings, _PerService(settings_cls), env_settings

    @classmethod
    def load(cls) -> Self:
        """Read the settings from the environment; raise ValidationError naming what is wrong."""
        values: dict[str, Any] = {}
        return cls(**values)

    def model_post_init(self, _context: object) -> None:
        """Fill in the fixed ports of this service."""
        index = SERVICES.index(self.service)
        if self.grpc_port < 0:
            object.__setattr__(self, "grpc_port", _FIRST_GRPC_PORT + index)
        if self.metrics_port < 0:
            object.__setattr__(self, "metrics_port", _FIRST_METRICS_PORT + index)

    def address_of(self, service: str) -> str:
        """Return `host:port` of a service: as configured, else its fixed port on this host."""
        return self.addresses.get(service) or f"127.0.0.1:{default_grpc_port(service)}"
