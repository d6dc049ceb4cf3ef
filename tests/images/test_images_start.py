"""Images start as the chart and the executor start them, and what is in them does its work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from deploy import bus, certificates
from deploy.healthy import is_ready
from deploy.laptop.ports import free_port
from deploy.laptop.postgres import RunningPostgres, start_postgres
from services.executor.drivers import kube_job
from services.executor.drivers.driver import Launch
from services.executor.drivers.kube_job import Placement
from tests import chart
from tests.images.container import Image, Pod, run, start
from tests.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deploy.laptop.broker import RunningBroker

ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse battery"
TRAINING = """
from pathlib import Path
from trainer.algorithms import opened
from trainer.config import parse
from trainer.offline import OfflineReporter

if __name__ == "__main__":
    config = parse({
        "scenario": "basic", "algorithm": "PPO", "seed": 7, "games": 2, "actors": 2,
        "rollout_steps": 8, "hidden": 32, "batch_size": 8, "max_iterations": 3,
        "checkpoint_interval": 3, "eval_episodes": 1,
    })
    reporter = OfflineReporter(Path.cwd())
    with opened(config, reporter) as training:
        training.run()
    print("digest", reporter.digests[3])
"""
pytestmark = pytest.mark.timeout(1200)


def pod_of(owner: str) -> chart.Pod:
    return next(p for p in chart.pods(chart.objects("production")) if p.owner == owner)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPostgres]:
    """A Postgres whose socket everybody may use, as a container has to."""
    home = tmp_path_factory.mktemp("postgres")
    settings = {"fsync": "off", "unix_socket_permissions": "0777"}
    server = start_postgres(home, settings=settings)
    server.postgres.socket_dir.chmod(0o711)
    yield server
    server.stop()


@pytest.fixture
def secrets(
    tmp_path: Path, database: RunningPostgres, nats_server: RunningBroker, keys_dir: Path
) -> dict[str, Path]:
    """The directories of a pod's secrets, by where the chart mounts them."""
    directory, keys = tmp_path / "secrets", tmp_path / "keys"
    directory.mkdir()
    keys.mkdir()
    written = {
        "database_password": database.postgres.passwords["gateway"],
        "nats_password": nats_server.password("gateway"),
        "nats_admin_password": nats_server.password(bus.ADMIN),
        "admin_password": PASSWORD,
    }
    for name, text in written.items():
        (directory / name).write_text(text)
    for name in ("jwks.json", "gateway.pem"):
        shutil.copy(keys_dir / name, keys)
        (keys / name).chmod(0o444)
    certificates.write(tmp_path / "tls")
    (tmp_path / "tls").chmod(0o711)
    return {
        "/run/secrets/elodrome": directory,
        "/run/secrets/keys": keys,
        "/run/secrets/tls": tmp_path / "tls" / "services",
        "/run/postgres": database.postgres.socket_dir,
    }


def as_charted(owner: str, secrets: dict[str, Path], **changed: str) -> Pod:
    """Return a pod of the chart, whose stores are those of this test and whose files are here."""
    pod = pod_of(owner)
    [container] = pod.spec["containers"]
    empty = {volume["name"] for volume in pod.spec["volumes"] if "emptyDir" in volume}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    return Pod(
        container["command"],
        chart.environment(pod) | changed,
        {place: path for place, path in secrets.items() if place in {*mounts, "/run/postgres"}},
        [place for place, name in mounts.items() if name in empty],
    )


def test_the_gateway_does_what_the_chart_asks_of_it(
    image: Callable[[str], Image],
    secrets: dict[str, Path],
    nats_server: RunningBroker,
) -> None:
    http, grpc, health = free_port(), free_port(), free_port()
    stores = {
        "ELODROME_DATABASE_URL": "postgresql+psycopg://gateway@/elodrome?host=/run/postgres",
        "ELODROME_NATS_URL": nats_server.url,
    }
    ports = {
        "ELODROME_HTTP_PORT": str(http),
        "ELODROME_GATEWAY_GRPC_PORT": str(grpc),
        "ELODROME_GATEWAY_HEALTH_PORT": str(health),
        "ELODROME_GATEWAY_METRICS_PORT": "0",
        "ELODROME_GATEWAY_ADDRESS": f"127.0.0.1:{grpc}",
    }
    for job in ("migrate-gateway", "streams", "admin"):
        done = run(image("gateway"), as_charted(f"Job/elodrome-{job}", secrets, **stores))
        assert done.returncode == 0, f"{job}: {done.stdout}{done.stderr}"
    deployed = as_charted("Deployment/elodrome-gateway", secrets, **stores, **ports)
    with start(image("gateway"), deployed) as gateway, httpx.Client() as client:
        try:
            client.base_url = f"http://127.0.0.1:{http}"
            eventually_sync(lambda: gateway.poll() is None and answers(client))
            assert is_ready(health)
            # The example install speaks TLS, and nothing else where services call each other.
            assert not is_ready(grpc)
            body = {"email": "admin@example.com", "password": PASSWORD}
            signed_in = client.post("/api/v1/auth/login", json=body)
            assert signed_in.status_code == 200, signed_in.text
            assert client.get("/docs").status_code == 200
            version = client.get("/api/v1/version").json()
            assert version["commit"] == image("gateway").environment["ELODROME_COMMIT"]
        finally:
            stop(gateway)
    assert gateway.returncode == 0


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def stop(container: subprocess.Popen[str]) -> None:
    """Send SIGTERM to the program in a container, as a cluster does, and wait until it ended."""
    for program in psutil.Process(container.pid).children():
        program.terminate()
    container.wait(timeout=60)


def a_worker(command: list[str]) -> Pod:
    """Return the pod of a worker as the executor makes it."""
    launch = Launch(name="run-a1", command=command, environment={})
    place = Placement(namespace="workloads", image="elodrome/worker:1")
    spec: dict[str, Any] = kube_job.job(launch, place)["spec"]["template"]["spec"]
    [container] = spec["containers"]
    return Pod(
        container["command"],
        {each["name"]: each["value"] for each in container["env"]},
        writable=[mount["mountPath"] for mount in container["volumeMounts"]],
        directory=container["workingDir"],
    )


@pytest.mark.parametrize("program", ["trainer", "referee"])
def test_a_worker_without_a_job_says_so(image: Callable[[str], Image], program: str) -> None:
    # The executor names the interpreter of its own image.
    done = run(image("worker"), a_worker(["/opt/elodrome/bin/python", "-m", program]))
    assert done.returncode == 64, done.stderr
    assert "ELODROME_JOB_TOKEN: is not set" in done.stdout


def test_doom_is_played_and_learned_from_as_outside(
    image: Callable[[str], Image], tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text(TRAINING)
    told = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/gen"}}
    here = subprocess.run(
        [sys.executable, "train.py"], **told, capture_output=True, text=True, check=True
    )
    script = f"cat >train.py <<'END'\n{TRAINING}\nEND\nexec python train.py"
    there = run(image("worker"), a_worker(["sh", "-c", script]))
    assert there.returncode == 0, there.stderr
    assert there.stdout == here.stdout
    assert there.stdout.startswith("digest ")


def test_the_image_cannot_be_written_to(image: Callable[[str], Image]) -> None:
    tries = "\n".join(
        f"touch {place}/x 2>/dev/null && echo {place}"
        for place in ("", "/opt/elodrome", "/etc", "/var/lib/elodrome", "/work", "/tmp")
    )
    done = run(image("worker"), a_worker(["sh", "-c", tries]))
    assert done.stdout.split() == ["/work", "/tmp"]


def test_what_lies_in_the_working_directory_is_not_imported(image: Callable[[str], Image]) -> None:
    script = "echo 'raise SystemExit(99)' >torch.py; exec python -c 'import torch'"
    done = run(image("worker"), a_worker(["sh", "-c", script]))
    assert done.returncode == 0, done.stderr
