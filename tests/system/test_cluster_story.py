"""The chart on a cluster whose pods are processes: the story of the demo, while all is replaced."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from helm_python import HelmError

from deploy.laptop.demo_client import Client
from deploy.laptop.demo_display import Display
from deploy.laptop.demo_story import Story
from kit.settings import SERVICES, default_grpc_port
from tests import chart
from tests.system.platform import WITH_TLS
from tests.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.platform import Platform

_EVERY_S = 0.1


class Load:
    """Somebody who asks all the time, each time anew; `failures` is what was not answered."""

    def __init__(self, url: str, token: str) -> None:
        self._url = f"{url}/api/v1/models"
        self._headers = {"authorization": token}
        self._stopped = threading.Event()
        self.answers = 0
        self.failures: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            try:
                answer = httpx.get(self._url, headers=self._headers, timeout=30)
            except httpx.TransportError as error:
                self.failures.append(f"{time.strftime('%X')} {error!r}")
                continue
            self.answers += 1
            if answer.status_code != 200:
                self.failures.append(f"{time.strftime('%X')} {answer.status_code} {answer.text}")


def takes_plain_calls(platform: Platform, service: str) -> bool:
    """Say whether a pod of a service that is ready answers somebody without a certificate."""
    name = f"{chart.RELEASE}-{service}.{chart.NAMESPACE}.svc"
    [address, *_] = platform.cluster.names.resolve(name) or []
    with grpc.insecure_channel(f"{address}:{default_grpc_port(service)}") as channel:
        check = health_pb2_grpc.HealthStub(channel).Check.future(
            health_pb2.HealthCheckRequest(), timeout=5
        )
        return check.code() is not grpc.StatusCode.UNAVAILABLE


@pytest.mark.timeout(600)
def test_the_story_is_told_while_an_upgrade_replaces_every_pod(
    new_platform: Callable[..., Platform],
) -> None:
    # Machines that are busy let a worker be silent for longer than a fault test would wait.
    patient = {"lease_expiry_s": 30, "heartbeat_s": 2}
    two = {"gateway": {"replicas": 2}, "executor": {"replicas": 2, "settings": patient}}
    platform = new_platform(**two, **WITH_TLS)
    assert platform.install()["status"] == "deployed"
    assert [service for service in SERVICES if takes_plain_calls(platform, service)] == []
    before = {service: {pod.name for pod in platform.pods(service)} for service in SERVICES}
    client = Client(platform.url, "admin", platform.admin_password)
    story = Story(platform.url, client, Display(), lambda: 0)
    admin = platform.admin()
    with ThreadPoolExecutor() as teller:
        told = teller.submit(story.tell)
        load = Load(platform.url, admin.headers["authorization"])

        def trains() -> bool:
            assert not told.done() or told.result() is None
            runs = admin.get("/runs").json()["items"]
            return any(run["progress"]["current_iteration"] > 0 for run in runs)

        eventually_sync(trains, within_s=120)
        platform.upgrade(defaults={"podAnnotations": {"replaced": "once"}})
        load.stop()
        told.result(timeout=400)
    assert load.answers > 0
    assert load.failures == []
    after = {service: {pod.name for pod in platform.pods(service)} for service in SERVICES}
    assert all(not before[service] & after[service] for service in SERVICES)
    assert story.run["attempt"] == 1
    assert not story.run["steps_lost"]
    assert {"training", "evaluation"} <= platform.kinds_of_jobs()


@pytest.mark.timeout(300)
def test_what_went_wrong_is_taken_back_and_what_is_left_is_the_state(
    new_platform: Callable[..., Platform],
) -> None:
    platform = new_platform()
    platform.install()
    platform.admin().post("/models", json={"name": "kept"}).raise_for_status()
    with platform.helm() as helm:
        # An executor that may start nothing refuses to start, and the one before stays.
        with pytest.raises(HelmError, match="executor"):
            platform.upgrade(within_s=25, executor={"settings": {"max_jobs": 0}})
        helm.rollback(chart.RELEASE, wait="watcher", timeout=60)
        statuses = [each["status"] for each in helm.history(chart.RELEASE)]
        assert statuses == ["superseded", "failed", "deployed"]
        assert platform.admin().get("/models").json()["total"] == 1
        helm.uninstall(chart.RELEASE, wait="watcher", timeout=60)
    # Each has 45 s to end.
    eventually_sync(lambda: not platform.cluster.running(), within_s=60)
    assert platform.cluster.store.get("namespaces", chart.WORKLOADS)
