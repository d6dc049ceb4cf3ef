"""The supervisor owns every process of an install, from the first start to the last goodbye."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field

from deploy.bus import SERVICES
from deploy.laptop import leftovers, lock, programs
from deploy.laptop.child import Child, State, rotate, tail
from deploy.laptop.install import Install, InstallError, home_directory, open_install
from deploy.laptop.postgres import PostgresError
from deploy.laptop.process import Identity
from deploy.laptop.record import Entry, Record

_PROBE_EVERY_S = 0.1
_IDLE_EVERY_S = 5.0
_SETUP_LIMIT_S = 120.0
_AFTER_READY_LIMIT_S = 20.0  # nothing else is looked after meanwhile

# Once no work is under way and none begins.
_STOP_LAST = (("evaluator", "sessions"), ("registry",), ("nats",), ("postgres",))


class StoppedError(RuntimeError):
    """The supervisor was told to stop before the install was up."""


class SetupError(RuntimeError):
    """A step before the services could start went wrong; the message carries its own words."""


def main() -> int:
    """Run the install of this environment in the foreground until SIGTERM or SIGINT."""
    home = home_directory(os.environ)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with lock.acquire(home):
            leftovers.end(home)
            return Supervisor(open_install(home, os.environ)).run()
    except (lock.HeldError, InstallError, SetupError, PostgresError) as error:
        print(error, file=sys.stderr, flush=True)
        return 1


@dataclass
class Supervisor:
    """Starts an install step by step, then restarts what ends, until it is told to stop."""

    install: Install
    children: dict[str, Child] = field(default_factory=dict)
    stopping: bool = False
    step: str = "starting"

    def __post_init__(self) -> None:
        """Prepare one child per program; a signal wakes the loop through a socket."""
        install = self.install
        everything = [programs.database(install), programs.message_bus(install)]
        everything += [programs.service(install, name) for name in SERVICES]
        for program in everything:
            self.children[program.name] = Child(program, install.logs / f"{program.name}.log")
        self.wake, wake_writer = socket.socketpair()
        self.wake.setblocking(False)
        wake_writer.setblocking(False)
        self.wake_writer = wake_writer

    def run(self) -> int:
        """Start everything, keep it alive, stop it; returns the exit code."""
        signal.set_wakeup_fd(self.wake_writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        taken = self.install.taken_port()
        if taken is not None:
            raise InstallError(taken)
        with contextlib.ExitStack() as stack:
            for held in self.install.hold_ports():
                stack.enter_context(held)
            try:
                self._set_up()
                while not self.stopping:
                    self._turn()
            except StoppedError:
                pass
            finally:
                self._stop()
        return 0

    def _on_stop(self, *_: object) -> None:
        self.stopping = True

    # -- first start ------------------------------------------------------------------------

    def _set_up(self) -> None:
        """Bring database, bus, keys and tables to where services can start, then start those."""
        rotate(self.install.logs / "setup.log")
        self._note("starting Postgres and NATS")
        for name in ("postgres", "nats"):
            self._start(self.children[name])
        self._await_ready("postgres", "nats")
        self._note("creating roles, schemas, keys and tables")
        programs.postgres_of(self.install).provision()
        environment = dict(os.environ) | {"ELODROME_HOME": str(self.install.home)}
        command = [sys.executable, "-m", "deploy.laptop.preparation"]
        self._finish("preparation", self._spawn("preparation", command, environment))
        self._note("starting services")
        for name in SERVICES:
            self._start(self.children[name])
        self._note("creating the administrator")
        self._finish("bootstrap", self._spawn("bootstrap", *self._bootstrap()))
        self._note("running")

    def _bootstrap(self) -> tuple[list[str], dict[str, str], str]:
        command = [sys.executable, "-m", "services.gateway.bootstrap"]
        environment = programs.service_environment(self.install, "gateway")
        return command, environment, self.install.admin_password

    def _spawn(
        self,
        label: str,
        command: list[str],
        environment: dict[str, str],
        words: str = "",
    ) -> subprocess.Popen[bytes]:
        with (self.install.logs / "setup.log").open("ab") as output:
            output.write(f"--- {label}\n".encode())
            output.flush()
            process = subprocess.Popen(
                command,
                cwd=programs.REPOSITORY,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )
        if process.stdin is not None:
            process.stdin.write(words.encode())
            process.stdin.close()
        return process

    def _finish(self, label: str, process: subprocess.Popen[bytes]) -> None:
        code = _exit_code(process, _SETUP_LIMIT_S)
        if code != 0:
            message = f"{label} failed with code {code}:\n{tail(self.install.logs / 'setup.log')}"
            raise SetupError(message)

    def _await_ready(self, *names: str) -> None:
        waiting = [self.children[name] for name in names]
        give_up = time.monotonic() + _SETUP_LIMIT_S
        while any(child.state is not State.READY for child in waiting):
            self._turn()
            if self.stopping:
                raise StoppedError
            broken = next((child for child in waiting if child.failures), None)
            if broken or time.monotonic() > give_up:
                child = broken or waiting[0]
                message = (
                    f"{child.program.name} did not start: {child.last_error}\n{tail(child.log)}"
                )
                raise SetupError(message)

    # -- keeping it alive -------------------------------------------------------------------

    def _turn(self) -> None:
        """Do what is due, then sleep until a child ends, a signal comes or something is due."""
        changed = [self._tend(child) for child in self.children.values()]
        for child in self.children.values():
            rotate(child.log)
        if any(changed):
            self._write()
        if not self.stopping:
            select.select([self.wake], [], [], self._pause_s())
        try:
            self.wake.recv(4096)
        except BlockingIOError:
            return

    def _tend(self, child: Child) -> bool:
        if child.reap():
            return True
        if child.state is State.BACKOFF and time.monotonic() >= child.due:
            self._start(child)
            return True
        if child.probe():
            self._after_ready(child)
            return True
        return False

    def _start(self, child: Child) -> None:
        try:
            child.start(programs.overrides(self.install, child.program.name))
        except (OSError, PostgresError) as error:
            child.postpone(str(error))
        self._write()

    def _after_ready(self, child: Child) -> None:
        command = child.program.after_ready
        if command is None:
            return
        process = self._spawn(child.program.name, command, child.program.environment)
        if _exit_code(process, _AFTER_READY_LIMIT_S) != 0:
            child.last_error = f"{' '.join(command[1:])} failed, see logs/setup.log"
            child.kill()  # a bus without streams is no bus

    def _pause_s(self) -> float:
        now = time.monotonic()
        pauses = [_IDLE_EVERY_S]
        for child in self.children.values():
            if child.state is State.STARTING:
                pauses.append(_PROBE_EVERY_S)
            elif child.state is State.BACKOFF:
                pauses.append(max(0.0, child.due - now))
        return min(pauses)

    # -- the end ----------------------------------------------------------------------------

    def _stop(self) -> None:
        """People first, then the work, then the record of it.

        A worker that is asked to stop still finds the executor for its last metrics and the
        registry for its last checkpoint; the executor may begin the next attempt meanwhile, which
        has nothing to save yet.
        """
        self._note("stopping")
        self._stop_together("gateway")
        leftovers.ask_workers(self.install.home)
        self._stop_together("executor")
        leftovers.end_workers(self.install.home)
        for group in _STOP_LAST:
            self._stop_together(*group)
        self._note("stopped")

    def _stop_together(self, *names: str) -> None:
        members = [self.children[name] for name in names]
        for child in members:
            child.ask_to_stop()
        for child in members:
            child.await_stop()

    # -- the record -------------------------------------------------------------------------

    def _note(self, step: str) -> None:
        self.step = step
        print(f"{time.strftime('%H:%M:%S')} {step}", flush=True)
        self._write()

    def _write(self) -> None:
        entries = [
            Entry(
                name,
                child.state,
                child.identity,
                child.program.port,
                child.restarts,
                child.last_error,
            )
            for name, child in self.children.items()
        ]
        supervisor = Identity.of(os.getpid())
        if supervisor is not None:
            ready = all(child.state is State.READY for child in self.children.values())
            Record(supervisor, self.step, ready, entries).write(self.install.home)


def _exit_code(process: subprocess.Popen[bytes], within_s: float) -> int:
    """Return how a short process ended; one that takes too long is killed."""
    try:
        return process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
