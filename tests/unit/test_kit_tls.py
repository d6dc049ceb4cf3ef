"""Certificates that a service refuses to start with, and those that are made for it."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from pydantic import ValidationError

from deploy import certificates
from deploy.certificates import Authority, save
from kit import tls
from kit.settings import ServiceSettings, explain
from services.executor.settings import ExecutorSettings
from trainer import platform
from trainer.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class GatewaySettings(ServiceSettings):
    service = "gateway"


def foreign(place: Path) -> None:
    (place / "ca.crt").write_bytes(Authority.new().pem)


def of_another_certificate(place: Path) -> None:
    (place / "tls.key").write_bytes(Authority.new().issue("other")["tls.key"])


def expired(place: Path) -> None:
    save(place, Authority.new().issue("late", valid=timedelta(seconds=-1)))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a certificate that is good."""
    certificates.write(tmp_path / "home" / "tls")
    return tmp_path / "home" / "tls" / "services"


def settings(**fields: Any) -> dict[str, Any]:
    return {"database_url": "postgresql://db/elodrome", "keys_dir": "keys"} | fields


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda place: (place / "tls.crt").unlink(), "tls.crt: cannot be read: No such file"),
        (lambda place: (place / "tls.key").unlink(), "tls.key: cannot be read: No such file"),
        (lambda place: (place / "ca.crt").unlink(), "ca.crt: cannot be read: No such file"),
        (lambda place: (place / "tls.crt").write_text("x"), "tls.crt: holds no certificate in PEM"),
        (lambda place: (place / "ca.crt").write_text(""), "ca.crt: holds no certificate in PEM"),
        (lambda place: (place / "tls.key").write_text("x"), "tls.key: is no private key in PEM"),
        (of_another_certificate, "tls.key: is not the key of tls.crt"),
        (foreign, "tls.crt: does not lead up to one of ca.crt"),
        (expired, "tls.crt: has expired, on 2"),
    ],
)
def test_a_service_names_the_file_that_it_cannot_start_with(
    place: Path, spoil: Callable[[Path], object], words: str
) -> None:
    spoil(place)
    with pytest.raises(ValidationError) as refused:
        GatewaySettings(**settings(tls_dir=place))
    said = explain("gateway", refused.value)
    assert f"ELODROME_TLS_DIR: Value error, {place}/{words}" in said


def test_an_empty_variable_leaves_calls_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELODROME_TLS_DIR", "")
    assert GatewaySettings(**settings()).tls_dir is None


def test_a_certificate_may_lead_up_over_others(tmp_path: Path) -> None:
    """Those between it and the authority stand below it in its file, as most issuers have it."""
    root, between = Authority.new(), Authority.new()
    rooted = (
        x509.CertificateBuilder(
            root.certificate.subject, between.certificate.subject, between.key.public_key(), 1
        )
        .not_valid_before(root.certificate.not_valid_before_utc)
        .not_valid_after(root.certificate.not_valid_after_utc)
        .sign(root.key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    own = between.issue("service", "localhost") | {"ca.crt": Authority.new().pem + root.pem}
    save(tmp_path, own | {"tls.crt": own["tls.crt"] + rooted})
    assert tls.read(tmp_path).certificate.startswith(own["tls.crt"])
    for spoilt in (own["tls.crt"], own["tls.crt"] + root.pem):
        save(tmp_path, own | {"tls.crt": spoilt})
        with pytest.raises(ValueError, match=r"does not lead up to one of ca\.crt"):
            tls.read(tmp_path)


def test_peers_know_a_service_by_the_host_of_its_address() -> None:
    addresses = {
        "gateway": "dns:///elodrome-gateway.elodrome.svc:50050",
        "registry": "registry:50051",
        "executor": "[::1]:50052",
    }
    found = GatewaySettings(**settings(addresses=addresses))
    assert {name: found.name_of(name) for name in (*addresses, "sessions")} == {
        "gateway": "elodrome-gateway.elodrome.svc",
        "registry": "registry",
        "executor": "::1",
        "sessions": "127.0.0.1",
    }


@pytest.mark.parametrize(
    ("driver", "field"), [("process", "worker_tls_dir"), ("kubernetes", "kube_tls_secret")]
)
def test_workers_and_services_have_certificates_or_neither_has(
    place: Path, driver: str, field: str
) -> None:
    workers: Any = place.parent / "workers" if driver == "process" else "elodrome-workers-tls"
    common = settings(driver=driver, worker_image="worker:1")
    with pytest.raises(ValidationError, match=f"{field}: workers need a certificate"):
        ExecutorSettings(**common, tls_dir=place)
    with pytest.raises(ValidationError, match=f"tls_dir: services need a certificate, as {field}"):
        ExecutorSettings(**common, **{field: workers})
    assert ExecutorSettings(**common, tls_dir=place, **{field: workers}).tls_dir == place


def test_a_worker_without_the_files_it_was_promised_says_which(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELODROME_TLS_DIR", str(place))
    (place / "ca.crt").unlink()
    with (
        pytest.raises(ConfigError, match=r"ELODROME_TLS_DIR.*ca\.crt: No such file"),
        platform.channel("127.0.0.1:1"),
    ):
        raise AssertionError


def test_making_certificates_again_keeps_the_authority(place: Path) -> None:
    before = tls.read(place)
    certificates.write(place.parent)
    after = tls.read(place)
    assert after.authority == before.authority == tls.read(place.parent / "workers").authority
    assert after.key != before.key
    left = after.expire_time - datetime.now(UTC)
    assert round(left / timedelta(days=1)) == certificates.VALID_DAYS
    for closed in (place.parent, place.parent.parent):
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert stat.S_IMODE((place.parent / "authority" / "tls.key").stat().st_mode) == 0o600
