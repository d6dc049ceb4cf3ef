"""compose.yaml is valid, whole, understood by the services, and free of secrets."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import stat
import subprocess
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import psycopg
import pytest
from cryptography import x509

from deploy import bus, certificates
from deploy import compose as generator
from deploy.laptop import broker
from kit import tls
from kit.settings import SERVICES, ServiceSettings, default_grpc_port, default_health_port
from scripts import images
from tests import compose

if TYPE_CHECKING:
    from deploy.laptop.postgres import RunningPostgres

_ONCE = "service_completed_successfully"
_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]*@")
_WORDS = ("PASSWORD", "SECRET", "TOKEN", "KEY", "CREDENTIAL")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The secrets of an install."""
    directory = tmp_path_factory.mktemp("compose") / "secrets"
    generator.write(directory)
    return directory


@pytest.fixture(scope="module")
def project(place: Path) -> dict[str, Any]:
    return compose.load(ELODROME_SECRETS=str(place))


def ours(project: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {n: s for n, s in project["services"].items() if s["image"].startswith("elodrome/")}


def mounted(service: dict[str, Any]) -> dict[str, str]:
    """Return the secrets of a service: what each is called in the container, and what it is."""
    listed = [{"source": s} if isinstance(s, str) else s for s in service.get("secrets", ())]
    return {each.get("target", each["source"]): each["source"] for each in listed}


def test_it_is_what_compose_takes(project: dict[str, Any]) -> None:
    vendored = resources.files("check_jsonschema.builtin_schemas.vendor")
    schema = json.loads((vendored / "compose-spec.json").read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(project)] == []
    broken = project | {"services": {"gateway": {"image": "x", "restrat": "no"}}}
    assert not validator.is_valid(broken)


def test_it_starts_nothing_without_secrets() -> None:
    with pytest.raises(compose.MissingError, match="ELODROME_SECRETS: run make compose-secrets"):
        compose.load()


def test_whatever_is_waited_for_is_there_and_can_come(project: dict[str, Any]) -> None:
    services = project["services"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            waited = services[other]
            if how["condition"] == _ONCE:
                assert waited["restart"] == "no", f"{name} waits for the end of {other}"
            else:
                assert how["condition"] == "service_healthy", name
                assert "healthcheck" in waited, f"{name} waits for the health of {other}"


def test_what_runs_on_comes_back_and_says_how_it_is(project: dict[str, Any]) -> None:
    waited = {
        other
        for service in project["services"].values()
        for other, how in service.get("depends_on", {}).items()
        if how["condition"] == _ONCE
    }
    for name, service in project["services"].items():
        if service["restart"] == "no":
            assert name in waited | {"admin"}
        else:
            assert service["restart"] == "unless-stopped"
            assert "test" in service["healthcheck"], name


def test_nothing_of_ours_may_do_more_than_it_must(project: dict[str, Any]) -> None:
    for name, service in ours(project).items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "user" not in service, f"{name}: the image says who runs it"
        assert ("ports" in service) == (name == "gateway")
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), "others reach it when somebody says so"
    reached = [n for n, s in project["services"].items() if "outside" in s["networks"]]
    assert reached == ["gateway"]
    assert project["networks"]["inside"]["internal"]


def test_images_are_those_that_are_built(project: dict[str, Any]) -> None:
    for name, service in ours(project).items():
        image, _, tag = service["image"].removeprefix("elodrome/").partition(":")
        assert image in images.IMAGES, name
        assert tag == images.version(), name
    for name, service in project["services"].items():
        assert not service["image"].endswith(":latest"), name
        assert ":" in service["image"], name
    named = compose.load(ELODROME_SECRETS="x", REGISTRY="registry.example.com", TAG="2.0")
    image = named["services"]["gateway"]["image"]
    assert image == "registry.example.com/elodrome/gateway:2.0"


def test_gateways_have_a_port_each(project: dict[str, Any]) -> None:
    gateway = project["services"]["gateway"]
    first, _, last = gateway["ports"][0].split(":")[1].partition("-")
    assert int(last) - int(first) + 1 == int(gateway["deploy"]["replicas"]) == 2


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_starts_with_what_it_is_told(
    project: dict[str, Any],
    place: Path,
    service: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    found = project["services"][service]
    for target, source in mounted(found).items():
        path = Path(project["secrets"][source]["file"])
        assert path.parent == place
        (tmp_path / target).write_text(path.read_text())
    for variable, value in found["environment"].items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("ELODROME_SECRETS_DIR", str(tmp_path))
    module = importlib.import_module(f"services.{service}.settings")
    settings: ServiceSettings = getattr(module, f"{service.capitalize()}Settings").load()
    password = (place / f"{service}_database_password").read_text()
    assert f"//{service}:{password}@postgres:5432/" in settings.database_url
    assert settings.nats_user == service
    assert settings.nats_password == (place / f"{service}_nats_password").read_text()
    assert settings.bind_host == "0.0.0.0"
    for peer in SERVICES:
        assert settings.address_of(peer) == f"{peer}:{default_grpc_port(peer)}"
        assert peer in project["services"]
    known = {f"ELODROME_{field.upper()}" for field in type(settings).model_fields}
    known |= {f"ELODROME_{peer.upper()}_ADDRESS" for peer in SERVICES} | {"ELODROME_SECRETS_DIR"}
    assert {v for v in found["environment"] if v.startswith("ELODROME_")} <= known
    assert found["healthcheck"]["test"][-2:] == ["deploy.healthy", service]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_its_own_secrets_only(project: dict[str, Any], service: str) -> None:
    own = {
        "jwks.json",
        f"{service}.pem",
        f"{service}_database_password",
        f"{service}_nats_password",
    }
    if service == "registry":
        own |= {"store_access_key_id", "store_secret_access_key"}
    assert set(mounted(project["services"][service]).values()) == own


@pytest.mark.parametrize("service", SERVICES)
def test_services_speak_tls_with_the_files_that_are_put_over_it(
    place: Path, service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is mounted lies where the service looks for it, and lets workers in."""
    secrets = tmp_path / "secrets"
    shutil.copytree(place, secrets)
    certificates.write(secrets / "tls")
    project = compose.load(compose.TLS, ELODROME_SECRETS=str(secrets))
    test_it_is_what_compose_takes(project)
    found = project["services"][service]
    for target, source in mounted(found).items():
        inside = tmp_path / target.removeprefix("/run/secrets/")
        inside.parent.mkdir(exist_ok=True)
        inside.write_bytes(Path(project["secrets"][source]["file"]).read_bytes())
    for variable, value in found["environment"].items():
        monkeypatch.setenv(variable, value.replace("/run/secrets", str(tmp_path)))
    module = importlib.import_module(f"services.{service}.settings")
    settings: ServiceSettings = getattr(module, f"{service.capitalize()}Settings").load()
    assert settings.tls_dir == tmp_path
    certificate = x509.load_pem_x509_certificate(tls.read(tmp_path).certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {settings.name_of(peer) for peer in SERVICES} <= set(
        names.get_values_for_type(x509.DNSName)
    )
    assert settings.health_port == default_health_port(service)
    if service == "executor":
        workers = tls.read(tmp_path / "worker")
        assert workers.authority == tls.read(tmp_path).authority
        assert workers.key != tls.read(tmp_path).key


def test_no_secret_stands_in_it(project: dict[str, Any], place: Path) -> None:
    for name, service in project["services"].items():
        assert "env_file" not in service
        for variable, value in service.get("environment", {}).items():
            is_place = variable.endswith(("_DIR", "_FILE"))
            assert is_place or not any(word in variable for word in _WORDS), f"{name}: {variable}"
            assert not _PASSWORD.search(value), f"{name}: {variable} holds a password"
    text = compose.FILE.read_text(encoding="utf-8")
    for path in place.iterdir():
        assert path.read_text() not in text
    # Every secret is made, mounted somewhere, and nothing is mounted that is not made.
    used = {s for each in project["services"].values() for s in mounted(each).values()}
    assert used == project["secrets"].keys() == {path.name for path in place.iterdir()}


def test_making_secrets_again_keeps_them(place: Path) -> None:
    before = {path.name: path.read_text() for path in place.iterdir()}
    generator.write(place)
    assert {path.name: path.read_text() for path in place.iterdir()} == before
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    passwords = [text for name, text in before.items() if name.endswith("_password")]
    assert len(set(passwords)) == len(passwords)
    assert min(map(len, passwords)) >= 24


def test_the_bus_takes_its_configuration(place: Path, tmp_path: Path) -> None:
    """It is that of the laptop, which the service tests run on, but for where it is."""
    text = (place / "nats.conf").read_text().replace('"/data"', f'"{tmp_path}/data"')
    (tmp_path / "nats.conf").write_text(text)
    command = [str(broker.program()), "-t", "--config", str(tmp_path / "nats.conf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    users = [json.loads(line)["user"] for line in text.splitlines() if '"user"' in line]
    assert sorted(users) == sorted([*bus.SERVICES, bus.ADMIN])


def test_roles_come_to_have_the_passwords(
    project: dict[str, Any], place: Path, postgres: RunningPostgres
) -> None:
    """What the one-shot service runs is run here, twice, against a Postgres of our own."""
    words = shlex.split(project["services"]["roles"]["command"][0].partition(" exec ")[2])
    assert words[-2:] == ["-f", "/run/secrets/roles.sql"]
    before = {role: postgres.postgres.passwords[role] for role in SERVICES}
    try:
        for _ in range(2):
            postgres.postgres.execute((place / "roles.sql").read_text())
        for role in SERVICES:
            password = (place / f"{role}_database_password").read_text()
            url = postgres.url(role).replace("postgresql+psycopg://", "postgresql://")
            with psycopg.connect(url.replace(before[role], password)) as connection:
                [path] = connection.execute("SHOW search_path").fetchone() or [""]
            assert path == role
    finally:
        postgres.postgres.provision()
