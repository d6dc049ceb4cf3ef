"""A whole install of its own for tests: real processes, killed and looked at from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import psutil
import psycopg
from psycopg.rows import dict_row

from deploy.laptop import control, install, leftovers, programs, record
from deploy.laptop.child import State
from deploy.laptop.ports import free_ports
from tests.cluster import sandbox
from tests.cluster.cluster import Cluster
from tests.waiting import eventually_sync

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.laptop.process import Identity

# A worker that fell silent is noticed in seconds, so that fault tests take seconds.
FAST_EXPIRY = {"ELODROME_LEASE_EXPIRY_S": "6", "ELODROME_HEARTBEAT_S": "1"}


class Stack:
    """One install under `home`, run by the supervisor that a person would use.

    `environment` is what its services are told beyond the fast expiry times of tests.
    """

    def __init__(self, home: Path, environment: dict[str, str] | None = None) -> None:
        names = [rule.variable for rule in install.PORTS.values()]
        ports = {name: str(port) for name, port in zip(names, free_ports(len(names)), strict=True)}
        self.home = home
        self.environment = FAST_EXPIRY | ports | (environment or {}) | {"ELODROME_HOME": str(home)}
        self.supervisor: subprocess.Popen[bytes] | None = None

    def start(self) -> Stack:
        """Start the supervisor and return once every process is ready."""
        logs = self.home / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with (logs / "supervisor.log").open("wb") as output:
            self.supervisor = subprocess.Popen(
                self.command("run"),
                cwd=programs.REPOSITORY,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        control.await_ready(self.home, self.supervisor, lambda _: None)
        return self

    def stop(self) -> None:
        """Stop the install as `make down` does, whoever runs it."""
        control.bring_down(self.home)
        if self.supervisor is not None:
            self.supervisor.wait(60)
            self.supervisor = None

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of a laptop command."""
        return [sys.executable, "-m", "deploy.laptop", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a laptop command on this install to its end."""
        return subprocess.run(
            self.command(*arguments),
            cwd=programs.REPOSITORY,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    # -- processes --------------------------------------------------------------------------

    @property
    def install(self) -> install.Install:
        """The install as it is stored: ports, passwords."""
        found = install.load(self.home)
        assert found is not None
        return found

    @property
    def record(self) -> record.Record:
        """What the supervisor says now."""
        found = record.read(self.home)
        assert found is not None
        return found

    def identity(self, name: str) -> Identity:
        """Return the running process of a program, waiting for one that is being restarted."""
        return eventually_sync(lambda: self.record.entry(name).identity, within_s=30)

    def kill(self, name: str, number: int = signal.SIGKILL) -> Identity:
        """Send a signal to a program, SIGKILL unless told; returns the process it was sent to."""
        target = self.identity(name)
        target.send(number)
        return target

    def wait_replaced(self, name: str, old: Identity, within_s: float = 30) -> Identity:
        """Return the process that took the place of `old`, once it is ready."""

        def replacement() -> Identity | None:
            entry = self.record.entry(name)
            fresh = entry.state == State.READY and entry.identity != old
            return entry.identity if fresh else None

        return eventually_sync(replacement, within_s)

    def arm(self, name: str, **variables: str) -> None:
        """Restart a service with variables set, such as ELODROME_FAILPOINT.

        They are forgotten again, so that the restart after it is an ordinary one.
        """
        self.configure(name, **variables)
        (self.home / "environment" / f"{name}.env").unlink()

    def configure(self, name: str, **variables: str) -> None:
        """Restart a service with variables set, for this and every later start."""
        path = self.home / "environment" / f"{name}.env"
        lines = [f"{variable}={value}\n" for variable, value in variables.items()]
        path.write_text("".join(lines), encoding="utf-8")
        self.restart(name)

    def restart(self, name: str) -> None:
        """End a service in an orderly way and return once its successor is ready."""
        self.wait_replaced(name, self.kill(name, signal.SIGTERM))

    def workers(self) -> list[psutil.Process]:
        """Return the processes of running trainers and referees."""
        found = (worker.process() for worker in leftovers.workers(self.home))
        return [worker for worker in found if worker is not None]

    def log(self, name: str) -> str:
        """Return the whole log of a program."""
        return (self.home / "logs" / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def channel(self, service: str) -> grpc.Channel:
        """Return a channel straight to a service."""
        return grpc.insecure_channel(f"127.0.0.1:{self.install.ports[service]}")

    # -- data -------------------------------------------------------------------------------

    def admin(self, timeout_s: float = 30) -> httpx.Client:
        """Return a REST client that is signed in as the administrator."""
        client = self.anonymous(timeout_s)
        login = {"email": "admin", "password": self.install.admin_password}
        answer = client.post("/auth/login", json=login)
        assert answer.status_code == 200, answer.text
        client.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
        return client

    def anonymous(self, timeout_s: float = 30) -> httpx.Client:
        """Return a REST client that is signed in as nobody; paths start after /api/v1."""
        return httpx.Client(base_url=f"{self.install.url}/api/v1", timeout=timeout_s)

    def rows(self, service: str, statement: str, *values: object) -> list[dict[str, Any]]:
        """Return the rows of an SQL query in the schema of a service."""
        url = programs.postgres_of(self.install).url().replace("+psycopg", "")
        with psycopg.connect(url, row_factory=dict_row, autocommit=True) as connection:
            connection.execute(f"SET search_path = {service}")
            return connection.execute(statement.encode(), values).fetchall()


class ClusterStack(Stack):
    """An install whose workers are Jobs of a cluster, which the cluster runs as processes."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True)
        self.cluster = Cluster(home / "cluster")
        driver = {
            "ELODROME_DRIVER": "kubernetes",
            "ELODROME_KUBE_CONFIG": str(self.cluster.kubeconfig()),
            "ELODROME_KUBE_NAMESPACE": self.cluster.namespace,
            "ELODROME_KUBE_MATCH_RUNTIME_CLASS": sandbox.RUNTIME_CLASS,
            "ELODROME_WORKER_IMAGE": "example.org/worker:1",
        }
        super().__init__(home, driver)

    def stop(self) -> None:
        """Stop the install, and then its cluster."""
        super().stop()
        self.cluster.stop()

    def workers(self) -> list[psutil.Process]:
        """Return the processes of running trainers and referees."""
        found = []
        for pod in self.cluster.running():
            # Agents have no controller.
            if not pod.owner:
                continue
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [psutil.Process(pod.process.pid)] if pod.process is not None else []
        return found
