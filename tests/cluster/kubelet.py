"""A pod of the cluster and the process that is its container, as the kubelet would run it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from services.executor.drivers import processes
from tests.cluster import sandbox
from tests.cluster.probes import Probes
from tests.cluster.store import Object, StatusError, now
from tests.cluster.volumes import Surroundings, Volumes, size_bytes

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

_INHERITED = ("PYTHONPATH", "TZ")
_MARK = "FAKE_POD"
_POLL_S = 0.03
_MEMORY_S = 0.5
"""Between two looks at the memory of a pod, which read all of /proc."""
_BACKOFF_S, _MAX_BACKOFF_S = 0.2, 3.0
_GRACE_S = 30
_FOREVER_S = float("inf")


def condition(kind: str, reason: str, message: str = "", *, status: bool = True) -> Object:
    return {"type": kind, "status": str(status), "reason": reason, "message": message} | {
        "lastTransitionTime": now()
    }


class Pod:
    """One pod and the process that is its container.

    `owner` is the name of the Job or ReplicaSet that controls it, `uid` that object's; both are
    empty without one. `index` is its place in an Indexed Job. One whose RuntimeClass is gvisor is
    not trusted.
    """

    def __init__(self, cluster: Cluster, item: Object, directory: Path) -> None:
        metadata = item["metadata"]
        self.owner, self.uid = _controller(metadata)
        self._cluster = cluster
        self.name = metadata["name"]
        self.namespace = metadata["namespace"]
        # Names are not unique among the clusters of tests that run side by side.
        self._mark = metadata["uid"]
        self.index = metadata.get("annotations", {}).get(COMPLETION_INDEX, "")
        self.start_s = time.monotonic()
        self.exit_code: int | None = None
        self.has_ended = threading.Event()
        self.is_lost = False
        self.is_ready = False
        self.conditions: list[Object] = []
        self._address = item["status"]["podIP"]
        self._item = item
        self._spec = item["spec"]
        self._is_trusted = self._spec.get("runtimeClassName") != sandbox.RUNTIME_CLASS
        self._container = item["spec"]["containers"][0]
        self._place = directory / "pods" / self.name
        self._volumes = Volumes(
            cluster.store, cluster.names, item, self._place, is_mounted=not self._is_trusted
        )
        self._deleted = threading.Event()
        self._kill_at = _FOREVER_S
        self._end_at = self.start_s + self._spec.get("activeDeadlineSeconds", _FOREVER_S)
        self._is_out_of_memory = False
        self._is_late = False
        self._restarts = 0
        self.process: subprocess.Popen[bytes] | None = None
        threading.Thread(target=self._run, name=self.name, daemon=True).start()

    @property
    def is_leaving(self) -> bool:
        return self._deleted.is_set()

    def change(self, change: Any) -> None:
        with self._cluster.store.lock:
            if self.is_known():
                self._cluster.store.update("pods", self.name, change, self.namespace)

    def is_known(self) -> bool:
        """Say whether there is still this pod, and not none or another one of its name."""
        try:
            item = self._cluster.store.get("pods", self.name, self.namespace)
        except StatusError:
            return False
        return item["metadata"]["uid"] == self._mark

    def _forget(self) -> None:
        with self._cluster.store.lock:
            if self.is_known():
                self._cluster.store.remove("pods", self.name, self.namespace)

    def disrupt(self, reason: str, message: str) -> None:
        self.conditions.append(condition("DisruptionTarget", reason, message))
        self._tell_conditions()

    def delete(self, grace_s: float | None) -> None:
        """Ask the process to end; kill it when its grace is over. 0 forgets the pod at once."""
        if grace_s is None:
            grace_s = self._spec.get("terminationGracePeriodSeconds", _GRACE_S)
        self._kill_at = min(self._kill_at, time.monotonic() + grace_s)
        if grace_s == 0 or self.has_ended.is_set():
            self._forget()
        elif not self._deleted.is_set():
            self.change(lambda item: item["metadata"].update(deletionTimestamp=now()))
            threading.Thread(target=self._ask_to_end, daemon=True).start()
        self._deleted.set()

    def kill(self) -> None:
        """End every process of the container, also those that left its session."""
        pids = set(processes.marked(f"{_MARK}={self._mark}"))
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
            data = _read_from(path, position)
            position += len(data)
            if data:
                yield data
            if is_last:
                return
            self.has_ended.wait(_POLL_S)

    def _ask_to_end(self) -> None:
        """Run the hook before the end, then send SIGTERM: what is new goes elsewhere by then."""
        hook = self._container.get("lifecycle", {}).get("preStop", {}).get("sleep")
        if hook is not None and self.process is not None:
            self.has_ended.wait(hook["seconds"])
        if self.process is not None:
            processes.send(self.process.pid, signal.SIGTERM)

    def _run(self) -> None:
        self._place.mkdir(parents=True, exist_ok=True)
        if self._wait_for_image():
            while (surroundings := self._wait_for_config()) is not None:
                self._start(surroundings)
                self._look_after()
                if not self._is_restarted():
                    break
        self._end()

    def _wait_for_image(self) -> bool:
        while self._container["image"] in self._cluster.broken_images:
            message = f'Back-off pulling image "{self._container["image"]}": not found'
            self._state({"waiting": {"reason": "ImagePullBackOff", "message": message}})
            if self._deleted.wait(_POLL_S):
                return False
        return not self._deleted.is_set()

    def _wait_for_config(self) -> Surroundings | None:
        while not self._deleted.is_set():
            try:
                return self._volumes.surroundings()
            except StatusError as error:
                reason = "CreateContainerConfigError"
                self._state({"waiting": {"reason": reason, "message": str(error)}})
                self._deleted.wait(_POLL_S)
        return None

    def _start(self, surroundings: Surroundings) -> None:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        inherited["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**inherited, **surroundings.environment, _MARK: self._mark}
        if self._spec.get("automountServiceAccountToken", True):
            account = self._spec.get("serviceAccountName", "default")
            path = self._cluster.kubeconfig(self.namespace, account)
            environment["ELODROME_KUBE_CONFIG"] = str(path)
        with (self._place / "log").open("ab") as output:
            try:
                self.process = self._begin(surroundings, environment, output)
            except OSError as error:
                self.process, self.exit_code = None, 128
                output.write(f"exec: {error}\n".encode())
                return
        self._state({"running": {"startedAt": now()}}, phase="Running")
        if self._deleted.is_set():
            processes.send(self.process.pid, signal.SIGTERM)

    def _begin(
        self, inside: Surroundings, environment: dict[str, str], output: BinaryIO
    ) -> subprocess.Popen[bytes]:
        doors = [] if self._is_trusted else self._open_doors()
        command, directory = inside.command, inside.directory
        if not self._is_trusted:
            brought = {key: environment[key] for key in environment.keys() - {_MARK}}
            inside = inside._replace(environment=brought)
            command = sandbox.command(self._item, inside, self._place, doors)
            environment, directory = {_MARK: self._mark, "PATH": environment["PATH"]}, "/"
        with contextlib.ExitStack() as closing:
            for door in doors:
                closing.enter_context(door)
            return subprocess.Popen(
                command,
                cwd=directory,
                env=environment,
                pass_fds=[door.fileno() for door in doors],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _open_doors(self) -> list[socket.socket]:
        """Return what listens for the pod, which waits while somebody listens everywhere."""
        while True:
            try:
                return sandbox.listeners(self._container, self._address)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or self._deleted.wait(_POLL_S):
                    raise

    def _look_after(self) -> None:
        """Return once the process has ended, and every other one of its container with it."""
        process = self.process
        if process is None:
            return
        probes = Probes(self._container, self._address, self._tell_ready)
        next_look_s = time.monotonic()
        while process.poll() is None:
            is_dead = probes.has_failed.is_set() and not self._deleted.is_set()
            self._is_late = self._is_late or time.monotonic() > self._end_at
            if is_dead or self._is_late or time.monotonic() > self._kill_at:
                self.kill()
            if time.monotonic() > next_look_s:
                self._limit_memory(process)
                next_look_s = time.monotonic() + _MEMORY_S
            time.sleep(_POLL_S)
        probes.stop()
        self.kill()
        code = process.wait()
        self.exit_code = 128 - code if code < 0 else code
        self._tell_ready(is_ready=False)

    def _limit_memory(self, process: subprocess.Popen[bytes]) -> None:
        limit = size_bytes(
            self._container.get("resources", {}).get("limits", {}).get("memory", "0")
        )
        if limit:
            used = sum(
                item.resident_bytes for item in processes.scan() if item.session_id == process.pid
            )
            if used > limit:
                self.kill_for_memory()

    def _is_restarted(self) -> bool:
        """Return whether the container runs again, after a while that grows."""
        policy = self._spec.get("restartPolicy", "Always")
        wanted = policy == "Always" or (policy == "OnFailure" and self.exit_code != 0)
        if not wanted or self._is_late or self._deleted.is_set() or self.is_lost:
            return False
        self._restarts += 1
        self._state({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}})
        backoff_s = min(_MAX_BACKOFF_S, _BACKOFF_S * 2 ** (self._restarts - 1))
        return not self._deleted.wait(backoff_s)

    def _end(self) -> None:
        self._volumes.close()
        if self.is_lost:
            self.has_ended.set()
            return
        if self.exit_code is not None:
            reason = (
                "OOMKilled"
                if self._is_out_of_memory
                else "StartError"
                if self.process is None
                else "Error"
                if self.exit_code
                else "Completed"
            )
            ended = {"exitCode": self.exit_code, "reason": reason, "finishedAt": now()}
            self._state({"terminated": ended}, phase="Failed" if self.exit_code else "Succeeded")
        if self._is_late:
            message = "Pod was active on the node longer than the specified deadline"
            late = {"phase": "Failed", "reason": "DeadlineExceeded", "message": message}
            self.change(lambda item: item["status"].update(late))
        self.has_ended.set()
        if self._deleted.is_set():
            self._forget()
            shutil.rmtree(self._place / "work", ignore_errors=True)

    def _tell_ready(self, is_ready: bool) -> None:
        self.is_ready = is_ready
        self._tell_conditions()

    def _tell_conditions(self) -> None:
        ready = condition("Ready", "Probed", status=self.is_ready)

        def change(item: Object) -> None:
            item["status"]["conditions"] = [ready, *self.conditions]
            for status in item["status"].get("containerStatuses", ()):
                status["ready"] = self.is_ready

        self.change(change)

    def _state(self, state: Object, phase: str = "Pending") -> None:
        status = {"name": self._container["name"], "image": self._container["image"]}
        status |= {"imageID": "", "ready": self.is_ready, "restartCount": self._restarts}
        status["state"] = state
        self.change(lambda item: item["status"].update(phase=phase, containerStatuses=[status]))


def _controller(metadata: Object) -> tuple[str, str]:
    """Return the name and uid of what keeps a pod running; an owner may be no such thing."""
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            return owner["name"], owner["uid"]
    return "", ""


def _read_from(path: Path, position: int) -> bytes:
    if not path.exists():
        return b""
    with path.open("rb") as stream:
        stream.seek(position)
        return stream.read()


COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
