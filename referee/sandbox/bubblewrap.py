"""Sandboxes on this machine, below bubblewrap: each sees a file system and a network of its own.

What a sandbox has of the machine is read-only: the system's libraries, Python, numpy, and the few
modules of this project that the runner is. All it can write to is one small tmpfs. The runner then
confines itself further, by `referee.sandbox.confinement`.

The limit on processes counts per user, and never for root. So a referee that is root gives each
sandbox a user id that nobody has; any other referee has each sandbox in a user namespace, which
the kernel counts apart.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import google.protobuf
from elodrome.evaluator.v1 import seat_pb2

from referee.sandbox import frames
from referee.sandbox.guard import TMP, Guard, kill
from referee.sandbox.sandboxes import Death, SandboxError, confine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from referee.sandbox.sandboxes import Limits

# A machine that is busy takes its time.
START_S = 30.0
TMP_BYTES = 32 << 20
_END_S = 2.0
_NOBODY = 65534
# Far above the ids of people, and below those that some programs take for negative.
_FIRST_UID, _UID_COUNT = 1 << 30, 1 << 29
_MODULES = "/opt/elodrome"
_BEGIN = (
    f"import sys; sys.path.insert(0, {_MODULES!r}); from referee.sandbox.runner import main; main()"
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_LAST_WORDS_BYTES = 2000


class LocalSandbox:
    """The processes of one seat, on this machine."""

    def __init__(self, seat: int, theirs: socket.socket, connection: socket.socket) -> None:
        """Start bubblewrap with one end of a connection; raises SandboxError."""
        self.connection = connection
        self._seat = seat
        self._process, info = _start(seat, theirs)
        try:
            self.pid = int(json.loads(info)["child-pid"])
            self._pidfd = os.pidfd_open(self.pid)
        except (ValueError, KeyError, OSError) as error:
            self._process.wait()
            raise SandboxError(self._complaint()) from error

    def confine(self, limits: Limits) -> None:
        """Wait for the runner to confine itself; raises SandboxError."""
        try:
            confine(self.connection, self._seat, limits, time.monotonic() + START_S)
        except (TimeoutError, frames.ClosedError, frames.FrameError) as error:
            raise SandboxError(self._complaint()) from error

    @contextlib.contextmanager
    def guarded(self, limits: Limits) -> Iterator[None]:
        """Hold all processes together to their limits."""
        with Guard(self.pid, self._pidfd, limits.memory_bytes) as self._guard:
            yield

    def death(self) -> Death:
        """Say which limit ended it, or what did."""
        code = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(_END_S)
        if self._guard.verdict is not None:
            return self._guard.verdict
        if code is None:
            return Death("it closed its connection")
        # Bubblewrap tells of signal n as a shell does, by 128 + n.
        if code - 128 in set(signal.Signals):
            return Death(f"its process was ended by {signal.Signals(code - 128).name}")
        return Death("its process ended")

    def end(self) -> None:
        """Leave none of its processes; they are gone when this returns."""
        kill(self._pidfd)
        # The first process of a pid namespace ends after all others.
        gone = select.poll()
        gone.register(self._pidfd, select.POLLIN)
        gone.poll(_END_S * 1000)
        os.close(self._pidfd)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _complaint(self) -> str:
        """Return what bubblewrap or Python said before they gave up."""
        assert self._process.stderr is not None
        os.set_blocking(self._process.stderr.fileno(), False)
        said = (self._process.stderr.read(_LAST_WORDS_BYTES) or b"").decode(errors="replace")
        words = said.strip().splitlines() or ["nothing was said"]
        return f"the sandbox of seat {self._seat} did not start: {words[-1]}"


class LocalSandboxes:
    """As many sandboxes as are asked for, on this machine."""

    @contextlib.contextmanager
    def open(self, seat: int, limits: Limits) -> Iterator[LocalSandbox]:
        """Start a sandbox; raises SandboxError. On leaving, none of its processes is left."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                sandbox = LocalSandbox(seat, theirs, ours)
            try:
                sandbox.confine(limits)
                with sandbox.guarded(limits):
                    yield sandbox
            finally:
                sandbox.end()


def _start(seat: int, theirs: socket.socket) -> tuple[subprocess.Popen[bytes], str]:
    """Start bubblewrap; return it and what it tells of the sandbox, as JSON."""
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        raise SandboxError(
            f"the sandbox of seat {seat} did not start: bubblewrap is not installed, and submitted "
            "code runs nowhere else (on Debian and Ubuntu: apt-get install bubblewrap)"
        )
    reading, writing = os.pipe()
    with open(reading, encoding="ascii") as info:  # noqa: PTH123 - a descriptor
        try:
            command = [bubblewrap, "--info-fd", str(writing), *_arguments(theirs.fileno())]
            process = subprocess.Popen(  # noqa: S603 - with arguments of ours only
                command,
                # What were in its environment, an agent could read in /proc/1/environ.
                env={},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(), writing),
            )
        finally:
            os.close(writing)
        return process, info.read()


def _arguments(descriptor: int) -> list[str]:
    """Return what bubblewrap is told: an empty world, what is put into it, what starts there."""
    user, becoming = _user()
    major, minor = sys.version_info[:2]
    python = f"{sys.base_exec_prefix}/bin/python{major}.{minor}"
    return [
        *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup"),
        *user,
        *("--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"),
        *("--setenv", "HOME", TMP, "--setenv", "LANG", "C.UTF-8"),
        # What an agent makes of a set of strings is the same in each match.
        *("--setenv", "PYTHONHASHSEED", "0"),
        *("--setenv", "OPENBLAS_NUM_THREADS", "1", "--setenv", "OMP_NUM_THREADS", "1"),
        *_system(),
        *_modules(),
        *("--proc", "/proc", "--perms", "0755", "--dir", "/dev"),
        *(word for name in _DEVICES for word in ("--dev-bind", name, name)),
        *("--size", str(TMP_BYTES), "--perms", "1777", "--tmpfs", TMP),
        *("--remount-ro", "/", "--chdir", TMP),
        # No site packages, nothing of a user or a working directory, no files of byte code.
        *("--", python, "-s", "-S", "-P", "-B", "-c", _BEGIN),
        *("--socket", str(descriptor), *becoming),
    ]


def _user() -> tuple[list[str], list[str]]:
    """Return what gives a sandbox a user that has nothing else, for bubblewrap and the runner."""
    if os.geteuid() == 0 and _has_every_uid():
        capabilities = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")
        kept = [word for name in capabilities for word in ("--cap-add", name)]
        uid = _FIRST_UID + secrets.randbelow(_UID_COUNT)
        return ["--cap-drop", "ALL", *kept], ["--uid", str(uid)]
    return ["--unshare-user", "--uid", str(_NOBODY), "--gid", str(_NOBODY)], []


def _has_every_uid() -> bool:
    """Say whether root here can become anybody; in some containers it cannot."""
    lines = Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
    first, _, count = (int(word) for word in lines[0].split())
    return first == 0 and count >= _FIRST_UID + _UID_COUNT


def _system() -> list[str]:
    """Return the options that show the system's libraries and Python, read-only."""
    shown = ["--ro-bind", "/usr", "/usr"]
    for library in sorted(Path("/").glob("lib*")):
        if library.is_symlink():
            shown += ["--symlink", str(library.readlink()), str(library)]
        else:
            shown += ["--ro-bind", str(library), str(library)]
    # Where the loader looks libraries up that lie elsewhere, such as those of /usr/local.
    cache = Path("/etc/ld.so.cache")
    shown += [*_directories_above(cache), "--ro-bind-try", str(cache), str(cache)]
    prefix = Path(sys.base_exec_prefix)
    if not prefix.is_relative_to("/usr"):
        shown += [*_directories_above(prefix), "--ro-bind", str(prefix), str(prefix)]
    return shown


def _directories_above(path: Path) -> list[str]:
    """Return the options that make them; made by the way, they could be for root only."""
    above = reversed(path.parents[:-1])
    return [word for directory in above for word in ("--perms", "0755", "--dir", str(directory))]


def _modules() -> list[str]:
    """Return the options that show what is not Python's own: the runner, protobuf, numpy."""
    protobuf = Path(google.protobuf.__file__).parent
    numpy = _found("numpy")
    here = Path(__file__).parent
    shown = {
        here: "referee/sandbox",
        here.parent / "__init__.py": "referee/__init__.py",
        Path(seat_pb2.__file__): "elodrome/evaluator/v1/seat_pb2.py",
        protobuf: "google/protobuf",
        protobuf.parent / "_upb": "google/_upb",
        numpy: "numpy",
        # The libraries that a wheel of numpy brings.
        numpy.parent / "numpy.libs": "numpy.libs",
    }
    options = []
    for source, name in shown.items():
        target = Path(_MODULES, name)
        options += [*_directories_above(target), "--ro-bind-try", str(source), str(target)]
    return options


def _found(package: str) -> Path:
    """Return the directory of an installed package without importing it."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent
