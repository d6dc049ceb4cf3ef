from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

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
