from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError
from sqlalchemy import make_url

from kit import failpoint
from kit.settings import ServiceSettings

if TYPE_CHECKING:
    from pathlib import Path


class ExecutorSettings(ServiceSettings):
    service = "executor"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setenv("ELODROME_DATABASE_URL", "postgresql://executor:correcthorse@db/elodrome")
    monkeypatch.setenv("ELODROME_KEYS_DIR", str(tmp_path))
    return monkeypatch


def test_ports_are_fixed_by_the_order_of_the_services(environment: pytest.MonkeyPatch) -> None:
    settings = ExecutorSettings()
    assert (settings.grpc_port, settings.metrics_port) == (50052, 9102)
    assert settings.address_of("registry") == "127.0.0.1:50051"


def test_ports_and_addresses_follow_the_variables(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ELODROME_EXECUTOR_GRPC_PORT", "6000")
    environment.setenv("ELODROME_EXECUTOR_METRICS_PORT", "0")
    environment.setenv("ELODROME_REGISTRY_ADDRESS", "registry.elodrome:50051")
    environment.setenv("ELODROME_SESSIONS_GRPC_PORT", "6004")
    settings = ExecutorSettings()
    assert (settings.grpc_port, settings.metrics_port) == (6000, 0)
    assert settings.address_of("registry") == "registry.elodrome:50051"
    assert settings.address_of("sessions") == "127.0.0.1:6004"


def test_a_service_finds_itself_where_it_listens(environment: pytest.MonkeyPatch) -> None:
    """And not by its name, behind which may be other pods of it."""
    environment.setenv("ELODROME_EXECUTOR_ADDRESS", "executor.elodrome:50052")
    assert ExecutorSettings().own_address == "127.0.0.1:50052"
    assert ExecutorSettings(bind_host="0.0.0.0").own_address == "127.0.0.1:50052"
    assert ExecutorSettings(bind_host="10.0.0.7").own_address == "10.0.0.7:50052"
    # A free port is known only once it is taken.
    assert ExecutorSettings(grpc_port=0).own_address == "executor.elodrome:50052"


def test_arguments_win_over_variables(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ELODROME_EXECUTOR_GRPC_PORT", "6000")
    assert ExecutorSettings(grpc_port=0).grpc_port == 0


def test_secrets_do_not_show_in_logs(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ELODROME_NATS_PASSWORD", "hunter2")
    shown = repr(ExecutorSettings())
    assert "correcthorse" not in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize("value", ["70000", "-2", "http"])
def test_a_wrong_port_is_refused(environment: pytest.MonkeyPatch, value: str) -> None:
    environment.setenv("ELODROME_EXECUTOR_GRPC_PORT", value)
    with pytest.raises(ValidationError, match="grpc_port"):
        ExecutorSettings()


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("ELODROME_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("ELODROME_KEYS_DIR", str(tmp_path))
    return tmp_path


def test_secrets_may_lie_in_files(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "ELODROME_DATABASE_URL", "postgresql+psycopg://executor@db:5432/elodrome?a=b"
    )
    (secrets / "database_password").write_text("p@ss/w:rd\n")
    (secrets / "nats_password").write_text("hunter2\n")
    settings = ExecutorSettings()
    url = make_url(settings.database_url)
    assert (url.username, url.password, url.host) == ("executor", "p@ss/w:rd", "db")
    assert (url.database, url.query) == ("elodrome", {"a": "b"})
    assert settings.nats_password == "hunter2"
    assert "hunter2" not in repr(settings)


def test_variables_win_over_files(environment: pytest.MonkeyPatch, secrets: Path) -> None:
    (secrets / "nats_password").write_text("of the file")
    environment.setenv("ELODROME_NATS_PASSWORD", "of the variable")
    assert ExecutorSettings().nats_password == "of the variable"


@pytest.mark.parametrize(
    "url", ["postgresql://executor:old@db/elodrome", "postgresql://db/elodrome"]
)
def test_a_password_beside_a_url_that_cannot_take_it_is_refused(secrets: Path, url: str) -> None:
    (secrets / "database_password").write_text("new")
    with pytest.raises(ValueError, match="names a user and no password"):
        ExecutorSettings(database_url=url)


@pytest.mark.parametrize("program", ["kit.migrate executor", "deploy.streams"])
def test_what_a_program_needs_is_named(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *program.split()],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    wanted = "ELODROME_DATABASE_URL" if "migrate" in program else "ELODROME_NATS_URL"
    assert done.returncode == 1
    assert f"{wanted}: Field required" in done.stderr


def test_a_failpoint_kills_at_the_hit_it_names() -> None:
    program = "from kit import failpoint\nfor n in range(9):\n print(n, flush=True)\n"
    program += " failpoint.hit('a.b')\n failpoint.hit('c')\n"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"ELODROME_FAILPOINT": "c:stop@99,a.b:kill@3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (-9, ["0", "1", "2"])


def test_a_misspelt_failpoint_is_refused() -> None:
    with pytest.raises(ValueError, match="explode"):
        failpoint.parse("outbox.after_publish:explode")
