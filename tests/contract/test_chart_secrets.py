"""Secrets that the chart makes for development are good ones."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from kit import auth
from kit.settings import SERVICES
from tests import chart

if TYPE_CHECKING:
    from pathlib import Path


def generated() -> dict[str, dict[str, bytes]]:
    found = chart.of_kind(chart.objects("dev"), "Secret")
    return {
        name: {key: base64.b64decode(value) for key, value in each["data"].items()}
        for name, each in found.items()
    }


def test_passwords_are_long_and_all_different() -> None:
    made = generated()
    passwords = [
        password
        for name in ("elodrome-postgresql", "elodrome-nats", "elodrome-admin")
        for password in made[name].values()
    ]
    assert len(set(passwords)) == len(passwords) == 5 + 6 + 1
    assert {len(password) for password in passwords} == {32}


@pytest.mark.parametrize("service", SERVICES)
def test_signing_keys_are_those_that_services_use(service: str, tmp_path: Path) -> None:
    made = generated()["elodrome-keys"]
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    signer, verifier = auth.Signer.load(tmp_path, service), auth.Verifier.load(tmp_path)
    assert verifier.verify(signer.service()).subject == service


def test_the_key_set_is_the_one_that_the_kit_would_write(tmp_path: Path) -> None:
    """Made anew from the same private keys, every entry is the same."""
    made = generated()["elodrome-keys"]
    for name in made.keys() - {"jwks.json"}:
        (tmp_path / name).write_bytes(made[name])
    auth.generate_keys(tmp_path)
    assert json.loads(made["jwks.json"]) == json.loads((tmp_path / "jwks.json").read_bytes())


def test_secrets_of_ones_own_are_taken_as_they_are() -> None:
    assert not chart.of_kind(chart.objects("production"), "Secret")
    found = chart.changed("dev", nats={"existingSecret": "mine"})
    assert "elodrome-nats" not in chart.of_kind(found, "Secret")


def test_generated_secrets_outlive_the_release() -> None:
    for secret in chart.of_kind(chart.objects("dev"), "Secret").values():
        assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
