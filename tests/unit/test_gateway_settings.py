"""What the edge refuses to start with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from services.gateway.settings import GatewaySettings

if TYPE_CHECKING:
    from pathlib import Path

URL = "postgresql+psycopg://gateway:{}@db/elodrome"


@pytest.mark.parametrize("password", ["elodrome", "postgres", "changeme"])
def test_a_cluster_does_not_start_with_the_password_of_an_example(
    tmp_path: Path, password: str
) -> None:
    with pytest.raises(ValidationError, match=f"sample password '{password}'"):
        GatewaySettings(profile="cluster", database_url=URL.format(password), keys_dir=tmp_path)
    with pytest.raises(ValidationError, match=f"sample password '{password}'"):
        GatewaySettings(
            profile="cluster",
            database_url=URL.format("x8Kq2Lw9"),
            nats_password=password,
            keys_dir=tmp_path,
        )


def test_a_cluster_starts_with_a_password_of_its_own(tmp_path: Path) -> None:
    settings = GatewaySettings(
        profile="cluster",
        database_url=URL.format("x8Kq2Lw9"),
        nats_password="p2Vd7Tz4",
        keys_dir=tmp_path,
    )
    assert settings.profile == "cluster"
