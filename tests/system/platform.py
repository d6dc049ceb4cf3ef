"""The chart installed on a cluster whose containers are processes, as an operator would do it."""

from __future__ import annotations

import base64
import os
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import yaml
from helm_python import Config
from psycopg.rows import dict_row

from deploy import certificates, prepare
from deploy.laptop import broker
from deploy.laptop.ports import free_port
from deploy.laptop.postgres import start_postgres
from tests import chart
from tests.cluster import sandbox
from tests.cluster.cluster import Cluster
from tests.cluster.front import Front
from tests.service import object_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.kubelet import Pod

WITH_TLS = {
    "tls": {"existingSecret": "elodrome-services-tls"},
    "workloads": {"tlsSecret": "elodrome-workers-tls"},
}
"""Values with which services and workers speak TLS."""

_TIMEOUT_S = 120
_SLOW = {"resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "2Gi"}}}


class Platform:
    """A release of the chart; `home` holds its Postgres, its NATS, its objects and its pods.

    `values` go over those that suit a cluster like this one.
    """

    def __init__(self, home: Path, values: dict[str, Any] | None = None) -> None:
        home.mkdir(exist_ok=True)
        self.home = home
        self.cluster = Cluster(home / "cluster", namespace=chart.WORKLOADS)
        self._private = home / "private"
        self._address = self.cluster.new_address()
        prepare.prepare(self._private, namespace=chart.NAMESPACE)
        self._postgres = start_postgres(home, settings={"listen_addresses": self._address})
        roles = (self._private / "postgresql.sql").read_text(encoding="utf-8")
        self._postgres.postgres.execute(roles)
        self._nats_port = free_port()
        self._nats = self._start_nats()
        self._stack = ExitStack()
        self.objects = self._stack.enter_context(object_store.serving())
        self.values = chart.merge(self._values(), values or {})
        self._front = Front(self.cluster.new_address(), 8080, self._gateways, 8080)
        self.url = self._front.url

    def _start_nats(self) -> subprocess.Popen[bytes]:
        command = [broker.program(), "--config", self._private / "nats.conf"]
        command += ["--addr", "127.0.0.1", "--port", str(self._nats_port)]
        with (self.home / "nats.log").open("wb") as log:
            return subprocess.Popen(
                command,
                cwd=self.home,
                env=os.environ | broker.memory_limits(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _values(self) -> dict[str, Any]:
        fast = {"lease_expiry_s": 6, "heartbeat_s": 1}
        known = yaml.safe_load((chart.ROOT / "deploy" / "k8s" / "values.yaml").read_text("utf-8"))
        return chart.merge(
            known,
            {
                "defaults": _SLOW,
                "postgresql": {"host": self._address},
                "nats": {"url": f"nats://127.0.0.1:{self._nats_port}"},
                "objectStore": {
                    "url": f"s3://{object_store.BUCKET}",
                    "endpoint": self.objects.url,
                },
                "executor": {"settings": fast},
                "workloads": {"match": {"runtimeClassName": sandbox.RUNTIME_CLASS}},
                "migrations": {"useHelmHooks": True},
                "tests": {"enabled": True},
            },
        )

    def _gateways(self) -> list[str]:
        return self.cluster.names.resolve(f"elodrome.{chart.NAMESPACE}.svc") or []

    @contextmanager
    def helm(self) -> Iterator[Config]:
        """Return Helm, which waits for what it does as `--wait` would have it."""
        with Config(kubeconfig_path=self.cluster.kubeconfig(), namespace=chart.NAMESPACE) as helm:
            yield helm

    def install(self) -> dict[str, Any]:
        """Install the chart and return once everything is ready."""
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": chart.NAMESPACE}}
        self.cluster.store.create("namespaces", namespace)
        made = yaml.safe_load((self._private / "secrets.yaml").read_text(encoding="utf-8"))
        for item in made["items"]:
            self.cluster.store.create("secrets", item)
        key = {"access_key_id": "platform", "secret_access_key": "correct-horse-battery"}
        head = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "stringData": key}
        place = {"name": "elodrome-object-store", "namespace": chart.NAMESPACE}
        self.cluster.store.create("secrets", {**head, "metadata": place})
        self._give_certificates()
        with self.helm() as helm:
            return helm.install(
                chart.chart(), chart.RELEASE, self.values, wait="watcher", timeout=_TIMEOUT_S
            )

    def _give_certificates(self) -> None:
        """Make the Secrets of TLS, which are of use where the values name them: see WITH_TLS."""
        certificates.write(self._private / "tls", namespace=chart.NAMESPACE)
        for name, namespace in (("services", chart.NAMESPACE), ("workers", chart.WORKLOADS)):
            files = (self._private / "tls" / name).iterdir()
            self.cluster.store.create(
                "secrets",
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "type": "kubernetes.io/tls",
                    "metadata": {"name": f"elodrome-{name}-tls", "namespace": namespace},
                    "stringData": {path.name: path.read_text("utf-8") for path in files},
                },
            )

    def upgrade(self, within_s: int = _TIMEOUT_S, **over: Any) -> dict[str, Any]:
        """Upgrade the release to these values over its own."""
        self.values = chart.merge(self.values, over)
        with self.helm() as helm:
            return helm.upgrade(
                chart.chart(), chart.RELEASE, self.values, wait="watcher", timeout=within_s
            )

    def stop(self) -> None:
        self._front.stop()
        self.cluster.stop()
        self._nats.terminate()
        self._nats.wait(30)
        self._postgres.stop()
        self._stack.close()

    @property
    def admin_password(self) -> str:
        secret = self.cluster.store.get("secrets", "elodrome-admin", chart.NAMESPACE)
        return base64.b64decode(secret["data"]["password"]).decode()

    def admin(self) -> httpx.Client:
        """Return a REST client that is signed in as the administrator."""
        client = httpx.Client(base_url=f"{self.url}/api/v1", timeout=30)
        login = {"email": "admin", "password": self.admin_password}
        answer = client.post("/auth/login", json=login)
        assert answer.status_code == 200, answer.text
        client.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
        return client

    def jobs(self) -> list[dict[str, Any]]:
        """Return the Jobs of workers."""
        return self.cluster.store.list("jobs", namespace=chart.WORKLOADS)

    def kinds_of_jobs(self) -> set[str]:
        """Return the kinds of runs for which there has been a Job."""
        labels = [
            change.item["metadata"]["labels"]
            for change in self.cluster.store.changes
            if change.resource == "jobs"
        ]
        return {found["elo/kind"] for found in labels if "elo/kind" in found}

    def pods(self, component: str) -> list[Pod]:
        """Return the pods of a service, or of a kind of worker, that are there to stay."""
        labels = {"app.kubernetes.io/component": component}
        names = [item["metadata"]["name"] for item in self.cluster.store.list("pods", labels)]
        pods = [self.cluster.pod(name) for name in names]
        return [pod for pod in pods if not (pod.is_leaving or pod.has_ended.is_set())]

    def log(self, component: str) -> str:
        """Return what the pods of a service have printed."""
        return "".join(
            chunk.decode(errors="replace")
            for pod in self.pods(component)
            for chunk in pod.log(follow=False)
        )

    def rows(self, service: str, statement: str, *values: object) -> list[dict[str, Any]]:
        """Return the rows of an SQL query in the schema of a service."""
        url = self._postgres.url().replace("+psycopg", "")
        with psycopg.connect(url, row_factory=dict_row, autocommit=True) as connection:
            connection.execute(f"SET search_path = {service}")
            return connection.execute(statement.encode(), values).fetchall()
