"""The guide for operators, command by command, on a cluster whose pods are processes."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from deploy.laptop import broker
from deploy.laptop.ports import free_port
from deploy.laptop.postgres import program, start_postgres
from tests import chart
from tests.cluster.cluster import Cluster
from tests.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDE = (chart.ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
COMMANDS = [
    found.strip() for found in re.findall(r"^ +```sh\n(.*?)^ +```", GUIDE, re.MULTILINE | re.DOTALL)
]


class Operator:
    """Somebody with a shell, a cluster, a Postgres, and nothing of Elodrome on them yet."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.cluster = Cluster(home / "cluster", namespace=chart.WORKLOADS)
        self._stores = self.cluster.new_address()
        self._postgres = start_postgres(home, settings={"listen_addresses": self._stores})
        self._background: list[subprocess.Popen[bytes]] = []
        self._port = free_port()
        (home / "helm").symlink_to(chart.ROOT / "helm")
        (home / "my-values.yaml").write_text(yaml.safe_dump(self._values()), encoding="utf-8")
        self._environment = self._prepare_shell()

    def _values(self) -> dict[str, object]:
        """Return the guide's values with the stores of this machine in the place of its own."""
        [example] = re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
        values = yaml.safe_load(example)
        values["postgresql"] |= {"host": self._stores, "sslMode": "disable", "ca": {}}
        values["nats"]["url"] = f"nats://{self._stores}:4222"
        values["objectStore"] = {"url": (self.home / "objects").as_uri()}
        return values

    def _prepare_shell(self) -> dict[str, str]:
        tools = self.home / "bin"
        tools.mkdir()
        ours = {name: f"{sys.executable} -m tests.cluster.{name}" for name in ("helm", "kubectl")}
        ours["psql"] = str(program("psql"))
        # Its port is the same on every machine, so it listens at an address of its own here.
        ours["nats-server"] = f"{broker.program()} --addr {self._stores}"
        for name, command in ours.items():
            (tools / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (tools / name).chmod(0o755)
        postgres = self._postgres.postgres
        return os.environ | {
            "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": f"{chart.ROOT}:{os.environ.get('PYTHONPATH', '')}",
            "KUBECONFIG": str(self.cluster.kubeconfig()),
            "PGHOST": str(postgres.socket_dir),
            "PGUSER": "postgres",
            "PGPASSWORD": postgres.passwords["postgres"],
            "ELODROME_URL": f"http://127.0.0.1:{self._port}",
            "XDG_CONFIG_HOME": str(self.home / "config"),
        }

    def types(self, command: str) -> str:
        """Run a command, or start it where it says so, and return what it printed."""
        words = shlex.split(command.replace(" 8080", f" {self._port}:8080"))
        if words[-1] == "&":
            return self._starts(words[:-1])
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.home,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}\n{self.look()}"
        return done.stdout

    def _starts(self, words: list[str]) -> str:
        place = {"nats-server": (self._stores, 4222), "kubectl": ("127.0.0.1", self._port)}
        self._background.append(
            subprocess.Popen(words, cwd=self.home, env=self._environment, stdout=subprocess.DEVNULL)
        )

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(place[words[0]]) == 0

        eventually_sync(answers)
        return ""

    def look(self) -> str:
        """Return what every pod printed last."""
        return "\n".join(
            f"{pod.name}: {b''.join(pod.log(follow=False)).decode(errors='replace')[-500:]}"
            for pod in self.cluster.running()
        )

    def leave(self) -> None:
        for started in self._background:
            started.terminate()
            started.wait(30)
        self.cluster.stop()
        self._postgres.stop()


@pytest.fixture
def operator(empty_home: Path) -> Iterator[Operator]:
    somebody = Operator(empty_home)
    yield somebody
    somebody.leave()


@pytest.mark.timeout(400)
def test_ten_commands_lead_from_an_empty_cluster_to_a_trained_agent(operator: Operator) -> None:
    assert len(COMMANDS) == 10
    printed = [operator.types(command) for command in COMMANDS]
    assert "STATUS: deployed" in printed[5]
    assert '"status": "ready"' in printed[6]
    assert "COMPLETED" in printed[9]
    [job] = operator.cluster.store.list("jobs", namespace=chart.WORKLOADS)
    assert job["metadata"]["labels"]["elo/kind"] == "training"
