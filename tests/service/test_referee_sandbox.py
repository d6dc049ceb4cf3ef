"""What a sandbox keeps from an agent, and its limits: tried from inside, by hostile agents."""

from __future__ import annotations

import ast
import contextlib
import os
import platform
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from referee.matches import Fault, Limits, LocalSandboxes, Seat, play
from referee.sandbox import footprint
from tests.referee_matches import a_match, archive, ended_by, needs_bubblewrap
from tests.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Iterator

    from referee.sandbox.bubblewrap import LocalSandbox

pytestmark = needs_bubblewrap

ROOT = Path(__file__).parents[2]
MODULES = {"PYTHONPATH": f"{ROOT}:{ROOT}/gen"}

# Raises what it found: words of an agent that reach the outside.
REPORT = """
import ctypes, errno, os, platform, resource, signal, socket, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def tried(action, *arguments):
    try:
        return action(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
def called(function, *arguments):
    return errno.errorcode[ctypes.get_errno()] if function(*arguments) == -1 else "done"
def act(observation):
    raise Exception("|" + repr(look()) + "|")
"""


def inside(body: str) -> Any:
    """Run the body of a function in a sandbox and return what it returned."""
    source = REPORT + "def look():\n" + textwrap.indent(textwrap.dedent(body), "    ")
    message = a_match(source, "first", step_s=30).seats[0].message
    assert message.count("|") == 2, message
    return ast.literal_eval(message.split("|")[1])


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A referee with a token in its environment, a file, and an abstract socket."""
    monkeypatch.setenv("ELODROME_JOB_TOKEN", "top-secret")
    (tmp_path / "file").write_text("top-secret")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0elodrome-{os.getpid()}")
        server.listen()
        yield tmp_path / "file"


def test_nothing_secret_is_to_be_found(secrets: Path) -> None:
    hidden = [str(secrets), str(ROOT), "/etc/shadow", "/etc/passwd", "/home"]
    hidden += ["/var", "/var/run/secrets/kubernetes.io", "/run", "/sys"]
    files, environments, processes = inside(
        f"""
        def is_told_by(name):
            return "top-secret" in open(name).read()
        return [
            [tried(os.stat, name) for name in {hidden!r}],
            ["top-secret" in repr(os.environ)]
            + [tried(is_told_by, f"/proc/{{pid}}/{{name}}")
               for pid in (1, "self") for name in ("environ", "cmdline", "mountinfo")],
            sorted(name for name in os.listdir("/proc") if name.isdecimal()),
        ]
        """
    )
    assert files == ["ENOENT"] * len(hidden)
    assert set(environments) <= {False, "EACCES"}
    assert processes == ["1", "2"]


def test_no_process_of_a_sandbox_was_given_what_the_referee_knows(secrets: Path) -> None:
    assert secrets.exists()
    with LocalSandboxes().open(0, Limits()) as sandbox:
        told = [
            Path(f"/proc/{pid}/{name}").read_bytes()
            for pid in footprint.processes(sandbox.pid)
            for name in ("environ", "cmdline")
        ]
    assert len(told) == 4
    assert not any(b"top-secret" in each for each in told)


def test_nobody_can_be_reached(secrets: Path) -> None:
    assert secrets.exists()
    assert inside(
        f"""
        def resolved(name):
            try:
                return socket.getaddrinfo(name, 80)
            except socket.gaierror:
                return "no"
        families = (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET, 40)
        unix = socket.socket(socket.AF_UNIX)
        return [
            [tried(socket.socket, family, kind) for family in families
             for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW)],
            tried(socket.create_connection, ("169.254.169.254", 80)),
            resolved("example.com"),
            tried(unix.connect, "\\0elodrome-{os.getpid()}"),
            [line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]],
        ]
        """
    ) == [["EPERM"] * 15, "EPERM", "no", "ECONNREFUSED", ["lo"]]


def test_only_a_small_directory_can_be_written_to() -> None:
    written = f"/usr/x /x /dev/x /opt/x /opt/elodrome/x /proc/sys/vm/x {sys.base_prefix}/x"
    assert inside(
        f"""
        def write(name, size):
            with open(name, "wb") as file:
                for _ in range(size >> 20):
                    file.write(bytes(1 << 20))
        def fill():
            for number in range(100):
                write(f"/tmp/{{number}}", 8 << 20)
        refusals = {{"EROFS", "EACCES", "ENOENT"}}
        return [
            [place for place in {written!r}.split() if tried(write, place, 0) not in refusals],
            tried(write, "/dev/shm/x", 0),
            tried(write, "/dev/sda", 0),
            tried(write, "/tmp/large", 17 << 20),
            tried(fill),
        ]
        """
    ) == [[], "ENOENT", "EROFS", "EFBIG", "ENOSPC"]


def test_an_agent_is_nobody_and_can_become_nobody_else() -> None:
    uid, groups, became, status = inside(
        """
        fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
        names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
        return [
            os.getuid(),
            [group for group in os.getgroups() if group != 65534],
            [tried(os.setuid, 0), tried(os.setgid, 0), tried(os.setgroups, [0])],
            [int(fields[name].strip(), 16) for name in names],
        ]
        """
    )
    assert uid >= 65534
    assert groups == []
    assert set(became) <= {"EPERM", "EINVAL"}
    assert status == [0, 0, 0, 0, 0, 1, 2]


def test_calls_beyond_the_sandbox_are_refused() -> None:
    refused, without_name, clone3 = inside(
        """
        numbers = {
            "x86_64": (248, 250, 321, 298, 323, 155, 425, 56, 272, 308, 435),
            "aarch64": (217, 219, 280, 241, 282, 41, 425, 220, 97, 268, 435),
        }[platform.machine()]
        new_user = 0x10000000 | signal.SIGCHLD
        return [
            [called(libc.ptrace, 16, 1, 0, 0), called(libc.ptrace, 0, 0, 0, 0),
             called(libc.process_vm_readv, 1, 0, 0, 0, 0, 0),
             called(libc.unshare, 0x10000000), called(libc.unshare, 0x20000),
             called(libc.mount, b"none", b"/tmp", b"tmpfs", 0, 0),
             called(libc.umount2, b"/proc", 2),
             called(libc.chroot, b"/tmp"), called(libc.shmget, 0, 1 << 30, 0o1600),
             called(libc.sched_setaffinity, 0, 8, bytes([255] * 8)),
             tried(os.memfd_create, "x"), tried(os.mknod, "/tmp/sda", 0o60600, 2048)],
            [called(libc.syscall, number, new_user, 0, 0, 0, 0) for number in numbers[:-1]],
            called(libc.syscall, numbers[-1], 0, 0),
        ]
        """
    )
    assert refused == ["EPERM"] * 12
    assert without_name == ["EPERM"] * 10
    assert clone3 == "ENOSYS"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other machines have one convention")
@pytest.mark.parametrize(
    "call",
    [
        # getpid() of the x32 convention.
        "libc.syscall(0x40000000 + 39)",
        # getpid() of the 32-bit one: mov eax, 20; int 0x80; ret
        "executed(bytes.fromhex('b814000000cd80c3'))",
    ],
)
def test_calls_of_another_convention_kill(call: str) -> None:
    source = f"""
        import ctypes, mmap
        libc = ctypes.CDLL(None)
        def executed(code):
            memory = mmap.mmap(-1, 4096, prot=7)
            memory.write(code)
            address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
            return ctypes.CFUNCTYPE(ctypes.c_int)(address)()
        def act(observation):
            {call}
        """
    assert ended_by(source).seats[0].message == "its process was ended by SIGSYS"


def test_the_sandbox_itself_cannot_be_stopped() -> None:
    result = a_match(
        """
import os, signal
def act(observation):
    for number in (signal.SIGSTOP, signal.SIGKILL, signal.SIGTERM):
        try:
            os.kill(1, number)
        except PermissionError:
            pass
    return observation["legal_actions"][0]
""",
        "first",
    )
    assert result.seats[0].fault == Fault.NONE


def test_there_are_as_many_processes_and_threads_as_allowed_and_no_more() -> None:
    forked, threads = inside(
        """
        children = 0
        while True:
            try:
                if os.fork() == 0:
                    signal.pause()
                children += 1
            except OSError as error:
                forked = (children, errno.errorcode[error.errno])
                break
        os.kill(-1, signal.SIGKILL)
        while children:
            os.wait()
            children -= 1
        threads, over = 0, threading.Event()
        threading.stack_size(1 << 16)
        while True:
            try:
                threading.Thread(target=over.wait, daemon=True).start()
                threads += 1
            except RuntimeError:
                return forked, threads
        """
    )
    # Of 50 the agent is one; the first process of a sandbox counts where it has the same user.
    assert forked in {(48, "EAGAIN"), (49, "EAGAIN")}
    assert threads == forked[0]


def test_there_is_one_core_and_little_else() -> None:
    cores, files, core_size, modules = inside(
        """
        files = []
        try:
            while True:
                files.append(open("/dev/null"))
        except OSError as error:
            opened = len(files), errno.errorcode[error.errno]
        files.clear()
        modules = []
        for name in ("numpy", "torch", "grpc", "psutil", "referee.matches"):
            try:
                __import__(name)
                modules.append(name)
            except ImportError:
                pass
        return (len(os.sched_getaffinity(0)), opened, resource.getrlimit(resource.RLIMIT_CORE),
            modules)
        """
    )
    assert cores == 1
    assert 50 < files[0] < 64
    assert files[1] == "EMFILE"
    assert core_size == (0, 0)
    assert modules == ["numpy"]


class Watched(LocalSandboxes):
    """Remembers the pid namespace of the sandbox that it opened last."""

    namespace = ""

    @contextlib.contextmanager
    def open(self, seat: int, limits: Limits) -> Iterator[LocalSandbox]:
        with super().open(seat, limits) as sandbox:
            self.namespace = str(Path(f"/proc/{sandbox.pid}/ns/pid").readlink())
            yield sandbox

    def processes(self) -> list[int]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if str((process / "ns" / "pid").readlink()) == self.namespace:
                    found.append(int(process.name))
        return found


def test_nothing_that_an_agent_started_outlives_its_match() -> None:
    sandboxes = Watched()
    seen = []
    source = """
        import os, signal
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(number, signal.SIG_IGN)
        def act(observation):
            for _ in range(5):
                if os.fork() == 0:
                    os.setsid()
                    if os.fork() == 0:
                        while True: pass
                    os._exit(0)
            if observation["step"]:
                while True: pass
            return observation["legal_actions"][0]
        """
    result = play(
        "connect_four",
        [Seat("daemons", archive(textwrap.dedent(source))), Seat("first", builtin="first")],
        seed=0,
        limits=Limits(step_s=1.5),
        sandboxes=sandboxes,
        on_step=lambda _steps: bool(seen.append(sandboxes.processes()) or True),
    )
    assert result.seats[0].fault == Fault.STEP_TIMEOUT
    # The first of the sandbox, the agent, and what it started.
    assert len(seen[-1]) > 2
    assert sandboxes.processes() == []


def test_strings_have_the_same_hash_in_every_match() -> None:
    assert inside("return hash('x')") == inside("return hash('x')")


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_referee_that_is_killed_takes_its_sandboxes_along(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text("import os\ndef act(o):\n  os.fork()\n  while True: pass")
    command = ["-m", "referee.local_match", "connect_four", f"{tmp_path}/agent.py", "random"]
    referee = subprocess.Popen([sys.executable, *command], env=os.environ | MODULES)
    try:
        # The referee, bubblewrap, its first process inside, the agent, and what that started.
        eventually_sync(lambda: len(footprint.processes(referee.pid)) >= 5)
        started = footprint.processes(referee.pid)
    finally:
        referee.kill()
        referee.wait()
    eventually_sync(lambda: not any(map(lives, started)))
