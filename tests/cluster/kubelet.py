"""A pod of the cluster and the process that is its container, as the kubelet would run it."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

from services.executor.drivers import processes
from tests.cluster.store import Object, StatusError, now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.cluster import Cluster

_INHERITED = ("PATH", "PYTHONPATH", "TZ")
_POLL_S = 0.03


def condition(kind: str, reason: str, message: str = "") -> Object:
    return {"type": kind, "status": "True", "reason": reason, "message": message} | {
        "lastTransitionTime": now()
    }


class Pod:
    """One pod and the process that is its container."""

    def __init__(self, cluster: Cluster, item: Object, directory: Path) -> None:
        self._cluster = cluster
        self.name = item["metadata"]["name"]
        self.job = item["metadata"]["labels"]["job-name"]
        self.uid = item["metadata"]["ownerReferences"][0]["uid"]
        self.start_s = time.monotonic()
        self.exit_code: int | None = None
        self.has_ended = threading.Event()
        self.is_lost = False
        self.conditions: list[Object] = []
        self._spec = item["spec"]
        self._container = item["spec"]["containers"][0]
        self._place = directory / "pods" / self.name
        self._deleted = threading.Event()
        self._kill_at = float("inf")
        self._is_out_of_memory = False
        self.process: subprocess.Popen[bytes] | None = None
        threading.Thread(target=self._run, name=self.name, daemon=True).start()

    def change(self, change: Any) -> None:
        try:
            self._cluster.store.update("pods", self.name, change)
        except StatusError:
            return

    def disrupt(self, reason: str, message: str) -> None:
        self.conditions.append(condition("DisruptionTarget", reason, message))
        self.change(lambda item: item["status"].update(conditions=self.conditions))

    def delete(self, grace_s: float | None) -> None:
        """Ask the process to end; kill it when its grace is over. 0 forgets the pod at once."""
        grace_s = self._spec["terminationGracePeriodSeconds"] if grace_s is None else grace_s
        self._kill_at = min(self._kill_at, time.monotonic() + grace_s)
        if grace_s == 0 or self.has_ended.is_set():
            self._cluster.store.remove("pods", self.name)
        elif not self._deleted.is_set():
            self.change(lambda item: item["metadata"].update(deletionTimestamp=now()))
            if self.process is not None:
                processes.send(self.process.pid, signal.SIGTERM)
        self._deleted.set()

    def kill(self) -> None:
        """End every process of the container, also those that left its session."""
        pids = set(processes.marked(f"FAKE_POD={self.name}"))
        for pid in pids:
            processes.send(pid, signal.SIGKILL)

    def kill_for_memory(self) -> None:
        self._is_out_of_memory = True
        self.kill()

    def log(self, *, follow: bool) -> Iterator[bytes]:
        path = self._place / "log"
        position = 0
        while True:
            is_last = self.has_ended.is_set() or not follow
            data = path.read_bytes()[position:] if path.exists() else b""
            position += len(data)
            if data:
                yield data
            if is_last:
                return
            self.has_ended.wait(_POLL_S)

    def _run(self) -> None:
        if self._wait_for_image() and (environment := self._wait_for_secrets()) is not None:
            self._start(environment)
            while self.process is not None and self.process.poll() is None:
                self._look_after(self.process)
                time.sleep(_POLL_S)
            self.kill()
        self._end()

    def _wait_for_image(self) -> bool:
        while self._container["image"] in self._cluster.broken_images:
            message = f'Back-off pulling image "{self._container["image"]}": not found'
            self._state({"waiting": {"reason": "ImagePullBackOff", "message": message}})
            if self._deleted.wait(_POLL_S):
                return False
        return not self._deleted.is_set()

    def _wait_for_secrets(self) -> dict[str, str] | None:
        while not self._deleted.is_set():
            try:
                return {item["name"]: self._value(item) for item in self._container["env"]}
            except StatusError as error:
                reason = "CreateContainerConfigError"
                self._state({"waiting": {"reason": reason, "message": str(error)}})
                self._deleted.wait(_POLL_S)
        return None

    def _value(self, item: Object) -> str:
        if "value" in item:
            return self._mapped(item["value"].replace("$$", "$"))
        reference = item["valueFrom"]["secretKeyRef"]
        secret = self._cluster.store.get("secrets", reference["name"])
        if reference["key"] in secret.get("stringData", {}):
            return secret["stringData"][reference["key"]]
        return base64.b64decode(secret["data"][reference["key"]]).decode()

    def _mapped(self, text: str) -> str:
        for mount in self._container["volumeMounts"]:
            if text == mount["mountPath"]:
                return str(self._place / mount["name"])
        return text

    def _start(self, environment: dict[str, str]) -> None:
        for volume in self._spec["volumes"]:
            (self._place / volume["name"]).mkdir(parents=True, exist_ok=True)
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        with (self._place / "log").open("wb") as output:
            try:
                self.process = subprocess.Popen(
                    [word.replace("$$", "$") for word in self._container["command"]],
                    cwd=self._mapped(self._container["workingDir"]),
                    env={**inherited, **environment, "FAKE_POD": self.name},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                self.exit_code = 128
                self._state({"terminated": {"exitCode": 128, "reason": "StartError"}})
                output.write(f"exec: {error}\n".encode())
                return
        self._state({"running": {"startedAt": now()}}, phase="Running")
        if self._deleted.is_set():
            processes.send(self.process.pid, signal.SIGTERM)

    def _look_after(self, process: subprocess.Popen[bytes]) -> None:
        if time.monotonic() > self._kill_at:
            self.kill()
        limit = int(self._container["resources"]["limits"].get("memory", 0))
        if limit:
            used = sum(
                item.resident_bytes for item in processes.scan() if item.session_id == process.pid
            )
            if used > limit:
                self.kill_for_memory()

    def _end(self) -> None:
        if self.process is not None:
            code = self.process.wait()
            self.exit_code = 128 - code if code < 0 else code
        if self.is_lost:
            self.has_ended.set()
            return
        if self.exit_code is not None:
            reason = (
                "OOMKilled"
                if self._is_out_of_memory
                else "Error"
                if self.exit_code
                else "Completed"
            )
            ended = {"exitCode": self.exit_code, "reason": reason, "finishedAt": now()}
            self._state({"terminated": ended}, phase="Failed" if self.exit_code else "Succeeded")
        self.has_ended.set()
        if self._deleted.is_set():
            self._cluster.store.remove("pods", self.name)
            shutil.rmtree(self._place / "work", ignore_errors=True)

    def _state(self, state: Object, phase: str = "Pending") -> None:
        status = {"name": self._container["name"], "image": self._container["image"]}
        status |= {"imageID": "", "ready": "running" in state, "restartCount": 0, "state": state}
        self.change(lambda item: item["status"].update(phase=phase, containerStatuses=[status]))
