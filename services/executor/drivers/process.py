"""Workers as processes of this machine: a session and a directory per attempt.

A small shell around each worker claims the directory, notes its own identity and keeps the exit
code, so that nothing depends on the executor being alive: after kill -9 of it, the next one reads
the same files and adopts the worker.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from services.executor import log_text, wakeups
from services.executor.drivers import processes
from services.executor.drivers.driver import Fault, Observation, Phase

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.executor.drivers.driver import Launch
    from services.executor.drivers.processes import Process

# `mkdir` is the claim: of two launches of one attempt, one runs the worker. The worker runs in the
# background and is waited for again after a signal, so that its exit code is never missed.
_WRAPPER = """
mkdir claim 2>/dev/null || exit 0
ulimit -c 0
start=$(sed 's/.*) //' /proc/$$/stat | cut -d' ' -f20)
printf '%s %s\\n' "$$" "$start" > process.tmp && mv process.tmp process
trap : TERM INT HUP
cd work
"$@" </dev/null >>../output.log 2>&1 &
worker=$!
while :; do
  wait "$worker"; code=$?
  kill -0 "$worker" 2>/dev/null || break
done
cd ..
printf '%s\\n' "$code" > exit.tmp && mv exit.tmp exit
"""
_MEMORY_EVENTS = Path("/sys/fs/cgroup/memory.events")
_JOB_VARIABLE = "ELODROME_JOB"
_INHERITED = ("PATH", "PYTHONPATH", "TZ", "ELODROME_IMAGE_DIGEST", "ELODROME_COMMIT")
_SIGKILLED = 128 + signal.SIGKILL
_LEAST_ROOM_BYTES = 64 << 20


class ProcessDriver:
    """Runs workers below `directory`, and ends those that use more memory than they are given.

    `tls_dir` holds what they show to services that speak TLS; None where those do not.
    """

    def __init__(self, directory: Path, tls_dir: Path | None = None) -> None:
        self._directory = directory
        self._tls = {"ELODROME_TLS_DIR": str(tls_dir.resolve())} if tls_dir else {}
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._watched: dict[str, set[int]] = {}

    async def check(self) -> None:
        """Raise OSError where workers have no room on the disk."""
        await asyncio.to_thread(_check_room, self._directory)

    async def launch(self, launch: Launch) -> None:
        """Start a worker unless its directory is claimed."""
        place = self._directory / launch.name
        for part in ("work", "home", "tmp"):
            (place / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        (place / "oom_kills").write_text(str(_oom_kills()))
        (place / "memory_bytes").write_text(str(launch.resources.memory_bytes))
        child = subprocess.Popen(  # noqa: ASYNC220, S603 - vfork and exec take about a millisecond
            ["/bin/sh", "-c", _WRAPPER, "worker", *launch.command],
            cwd=place,
            env={
                **_environment(place),
                **self._tls,
                **launch.environment,
                **launch.secrets,
                _JOB_VARIABLE: launch.name,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._children[child.pid] = child
        self._watch(launch.name, child.pid)

    async def observe(self, names: Iterable[str]) -> dict[str, Observation]:
        """Look at the directory and the processes of each worker."""
        self._collect_children()
        wanted = list(names)
        if not wanted:
            return {}
        by_session: dict[int, list[Process]] = {}
        for process in await asyncio.to_thread(processes.scan):
            by_session.setdefault(process.session_id, []).append(process)
        return {name: self._observe(name, by_session) for name in wanted}

    async def inspect(self, name: str) -> Observation:
        """Look at one worker; nothing here is known earlier than it is seen."""
        return (await self.observe([name]))[name]

    def _observe(self, name: str, by_session: dict[int, list[Process]]) -> Observation:
        place = self._directory / name
        if not (place / "claim").exists():
            is_on_its_way = self._is_own_child_alive(name)
            return Observation(Phase.RUNNING if is_on_its_way else Phase.ABSENT)
        # The shell notes the worker's exit before it ends. So the question whether it lives comes
        # first: only then does a shell that is gone, with no note, mean that there is none.
        is_named = (place / "process").exists()
        leader = self._leader(name)
        if (place / "exit").exists():
            return _exited(place, int((place / "exit").read_text()))
        if leader is None:
            # The claim is fresh, and the shell has not said yet who it is.
            is_fresh = not is_named and self._is_own_child_alive(name)
            return Observation(Phase.RUNNING) if is_fresh else _exited(place, None)
        self._watch(name, leader.pid)
        self._limit_memory(place, by_session.get(leader.pid, []))
        return Observation(Phase.RUNNING)

    def _leader(self, name: str) -> Process | None:
        """Return the shell around the worker; None where it is gone."""
        identity = self._identity(name)
        if identity is None:
            return None
        process = processes.read(identity[0])
        return process if process and process.start_ticks == identity[1] else None

    def _identity(self, name: str) -> tuple[int, int] | None:
        note = self._directory / name / "process"
        if not note.exists():
            return None
        pid, start_ticks = note.read_text().split()
        return int(pid), int(start_ticks)

    def _is_own_child_alive(self, name: str) -> bool:
        # Launched again, it has several, of which one alone has claimed the directory.
        return not self._watched.get(name, set()).isdisjoint(self._children)

    def _limit_memory(self, place: Path, members: list[Process]) -> None:
        used_bytes = sum(process.resident_bytes for process in members)
        note = place / "memory_bytes"
        limit_bytes = int(note.read_text()) if note.exists() else 0
        if not limit_bytes or used_bytes <= limit_bytes:
            return
        (place / "over_memory").touch()
        for process in members:
            processes.send(process.pid, signal.SIGKILL)

    async def terminate(self, name: str) -> None:
        """Send SIGTERM to the worker alone: its games have to live until it has saved."""
        leader = self._leader(name)
        if leader is None:
            return
        for process in await asyncio.to_thread(processes.scan):
            if process.parent_pid == leader.pid:
                processes.send(process.pid, signal.SIGTERM)

    async def reap(self, name: str) -> bool:
        """Send SIGKILL to the session of the worker and to whatever escaped from it."""
        members = await asyncio.to_thread(self._members, name)
        for pid in members:
            processes.send(pid, signal.SIGKILL)
        self._collect_children()
        if members:
            return False
        self._watched.pop(name, None)
        for part in ("work", "home", "tmp"):
            await asyncio.to_thread(shutil.rmtree, self._directory / name / part, True)
        return True

    def _members(self, name: str) -> set[int]:
        members = set(processes.marked(f"{_JOB_VARIABLE}={name}"))
        identity = self._identity(name)
        if identity is None:
            return members
        pid, start_ticks = identity
        leader = processes.read(pid)
        if leader is not None and leader.start_ticks != start_ticks:
            # The pid names somebody else now, so the session is gone with all its members.
            return members
        return members | {item.pid for item in processes.scan() if item.session_id == pid}

    async def read_log(self, name: str, offset_bytes: int, limit_bytes: int) -> bytes:
        """Read from the file that takes the worker's output."""
        return log_text.read(self._directory / name / "output.log", offset_bytes, limit_bytes)

    async def discard(self, name: str) -> None:
        """Remove the worker's directory."""
        await asyncio.to_thread(shutil.rmtree, self._directory / name, True)

    def _watch(self, name: str, pid: int) -> None:
        """Wake the reconciler the moment a process ends; its polling is only the fallback."""
        watched = self._watched.setdefault(name, set())
        if pid in watched:
            return
        watched.add(pid)
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            wakeups.wake(wakeups.RECONCILER)
            return
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(handle)
            os.close(handle)
            wakeups.wake(wakeups.RECONCILER)

        loop.add_reader(handle, ended)

    def _collect_children(self) -> None:
        for pid, child in list(self._children.items()):
            if child.poll() is not None:
                del self._children[pid]


def _check_room(directory: Path) -> None:
    """Raise OSError where the disk below a directory, which may be yet to be made, is full."""
    place = next(each for each in (directory, *directory.parents) if each.exists())
    if shutil.disk_usage(place).free < _LEAST_ROOM_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))


def _environment(place: Path) -> dict[str, str]:
    """Return what a worker may know of this process: where programs are, and no secret."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {
        **kept,
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "HOME": str(place / "home"),
        "TMPDIR": str(place / "tmp"),
        "ELODROME_WORK_DIR": str(place / "work"),
    }


def _exited(place: Path, exit_code: int | None) -> Observation:
    is_out_of_memory = (place / "over_memory").exists() or (
        exit_code in (None, _SIGKILLED) and _oom_kills() > int((place / "oom_kills").read_text())
    )
    words = log_text.last_words(place / "output.log")
    fault = Fault.OUT_OF_MEMORY if is_out_of_memory else None
    return Observation(Phase.EXITED, exit_code, fault, last_words=words)


def _oom_kills() -> int:
    """Return how often the kernel killed a process of this container for want of memory."""
    if not _MEMORY_EVENTS.exists():
        return 0
    counts = dict(line.split() for line in _MEMORY_EVENTS.read_text().splitlines())
    return int(counts.get("oom_kill", 0))
