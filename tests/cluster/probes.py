"""Whether a container has started, is alive and is ready, as its probes say.

Probes are made several times as often as they ask for; what counts is for how long they fail.
"""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cluster.store import Object

_PERIOD_S = 0.2
_QUICK = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]


class Probes:
    """Watches one container at `address` until `stop`; tells `on_ready` of every change.

    `has_failed` is set when it is to be killed: it did not start, or lives no more.
    """

    def __init__(self, container: Object, address: str, on_ready: Callable[[bool], None]) -> None:
        self._container = container
        self._address = address
        self._on_ready = on_ready
        self._is_ready = False
        self._stopped = threading.Event()
        self._channels: dict[int, grpc.Channel] = {}
        self.has_failed = threading.Event()
        threading.Thread(target=self._run, name=f"probes of {address}", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        if self._wait_for_start():
            last_alive_s = last_ready_s = time.monotonic()
            while not self._stopped.wait(_PERIOD_S):
                if self._succeeds("livenessProbe"):
                    last_alive_s = time.monotonic()
                elif self._is_over("livenessProbe", last_alive_s):
                    self.has_failed.set()
                if self._succeeds("readinessProbe"):
                    last_ready_s = time.monotonic()
                    self._tell(is_ready=True)
                elif self._is_over("readinessProbe", last_ready_s):
                    self._tell(is_ready=False)
        for channel in self._channels.values():
            channel.close()

    def _wait_for_start(self) -> bool:
        began_s = time.monotonic()
        while not self._stopped.is_set():
            if self._succeeds("startupProbe"):
                return True
            if self._is_over("startupProbe", began_s):
                self.has_failed.set()
            self._stopped.wait(_PERIOD_S)
        return False

    def _tell(self, *, is_ready: bool) -> None:
        if is_ready != self._is_ready:
            self._is_ready = is_ready
            self._on_ready(is_ready)

    def _is_over(self, name: str, since_s: float) -> bool:
        probe = self._container[name]
        patience_s = probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3)
        return time.monotonic() > since_s + patience_s

    def _succeeds(self, name: str) -> bool:
        probe = self._container.get(name)
        if probe is None:
            return True
        timeout_s = probe.get("timeoutSeconds", 1)
        if "grpc" in probe:
            return self._serves(probe["grpc"], timeout_s)
        wanted = probe["httpGet"]
        url = f"http://{self._address}:{self._port(wanted['port'])}{wanted['path']}"
        try:
            with urllib.request.urlopen(url, timeout=timeout_s):
                return True
        except (OSError, urllib.error.HTTPError):
            return False

    def _serves(self, wanted: Object, timeout_s: float) -> bool:
        port = wanted["port"]
        if port not in self._channels:
            self._channels[port] = grpc.insecure_channel(f"{self._address}:{port}", _QUICK)
        stub = health_pb2_grpc.HealthStub(self._channels[port])
        request = health_pb2.HealthCheckRequest(service=wanted.get("service", ""))
        try:
            answer = stub.Check(request, timeout=timeout_s)
        except grpc.RpcError:
            return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    def _port(self, port: int | str) -> int:
        named = {each["name"]: each["containerPort"] for each in self._container.get("ports", ())}
        return port if isinstance(port, int) else named[port]
