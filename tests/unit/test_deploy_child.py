"""A child is restarted ever more slowly, and its log never grows without end."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from deploy.laptop import leftovers, lock, programs, record
from deploy.laptop.child import LONGEST_DELAY_S, Child, State, delay_s, rotate, tail
from deploy.laptop.install import open_install
from deploy.laptop.process import Identity
from deploy.laptop.programs import Program
from tests.waiting import eventually_sync

if TYPE_CHECKING:
    from pathlib import Path


def a_child(tmp_path: Path, code: str, *, grace_s: float = 5) -> Child:
    command = [sys.executable, "-c", code]
    program = Program("sleeper", command, dict(os.environ), lambda: True, grace_s=grace_s)
    return Child(program, tmp_path / "sleeper.log")


def test_delays_double_up_to_a_limit() -> None:
    assert [delay_s(n) for n in range(1, 5)] == [0.25, 0.5, 1.0, 2.0]
    assert delay_s(50) == LONGEST_DELAY_S


def test_a_child_that_ends_waits_for_its_restart_and_says_why(tmp_path: Path) -> None:
    child = a_child(tmp_path, "import sys; print('last words'); sys.exit(3)")
    child.start({})
    assert child.state is State.STARTING
    eventually_sync(child.reap)
    assert child.state is State.BACKOFF
    assert child.last_error.startswith("exited with code 3")
    assert tail(child.log) == "last words"
    child.start({})
    eventually_sync(child.reap)
    assert (child.restarts, child.failures) == (2, 2)


def test_a_child_is_told_what_its_environment_file_says(tmp_path: Path) -> None:
    install = open_install(tmp_path / "home", {})
    path = install.home / "environment" / "sleeper.env"
    path.write_text("# a comment\nELODROME_TOLD = yes=no\n\n", encoding="utf-8")
    child = a_child(tmp_path, "import os; print(os.environ['ELODROME_TOLD'])")
    child.start(programs.overrides(install, "sleeper"))
    eventually_sync(child.reap)
    assert tail(child.log) == "yes=no"
    assert programs.overrides(install, "another") == {}


def test_a_stubborn_child_is_killed_after_its_grace(tmp_path: Path) -> None:
    code = "import signal as s; s.signal(15, s.SIG_IGN); print('on', flush=True); s.pause()"
    child = a_child(tmp_path, code, grace_s=0.2)
    child.start({})
    eventually_sync(lambda: tail(child.log) == "on")
    child.ask_to_stop()
    child.await_stop()
    assert child.last_error.startswith("killed")


def test_a_log_past_its_limit_moves_aside_and_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with log.open("ab", buffering=0) as writer:
        for round_number in range(5):
            writer.write(f"round {round_number}\n".encode() * 20)
            assert rotate(log, limit_bytes=100)
        writer.write(b"after\n")
    assert not rotate(log, limit_bytes=100)
    assert log.read_text() == "after\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.log",
        "a.log.1",
        "a.log.2",
        "a.log.3",
    ]
    assert (tmp_path / "a.log.1").read_text().startswith("round 4")


def test_the_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    assert lock.holder(tmp_path) is None
    with lock.acquire(tmp_path):
        assert lock.holder(tmp_path) == Identity.of(os.getpid())
        with pytest.raises(lock.HeldError, match=f"held by supervisor {os.getpid()}"):
            lock.acquire(tmp_path)
    lock.acquire(tmp_path).close()


def test_the_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    own = Identity.of(os.getpid())
    assert own is not None
    entry = record.Entry("nats", State.READY, own, 4222, 2, "ended by SIGKILL")
    written = record.Record(own, "running", ready=True, entries=[entry])
    written.write(tmp_path)
    assert record.read(tmp_path) == written
    assert written.entry("nats").restarts == 2


def test_leftovers_of_a_record_are_ended_but_no_stranger_with_their_pid(tmp_path: Path) -> None:
    child = a_child(tmp_path, "import signal; print('on', flush=True); signal.pause()")
    child.start({})
    eventually_sync(lambda: tail(child.log) == "on")
    own = Identity.of(os.getpid())
    assert own is not None
    assert child.identity is not None
    stranger = Identity(os.getpid(), own.created - 100)
    entries = [
        record.Entry("sleeper", State.READY, child.identity, None, 0, ""),
        record.Entry("stranger", State.READY, stranger, None, 0, ""),
    ]
    record.Record(own, entries=entries).write(tmp_path)
    assert leftovers.end(tmp_path) == ["sleeper"]
    assert child.identity.process() is None


def test_a_program_that_cannot_even_start_is_tried_again_later(tmp_path: Path) -> None:
    child = a_child(tmp_path, "print('never')")
    child.program.command[0] = str(tmp_path / "missing")
    with pytest.raises(FileNotFoundError) as failure:
        child.start({})
    child.postpone(str(failure.value))
    assert child.state is State.BACKOFF
    assert "missing" in child.last_error
    assert (child.restarts, child.failures) == (1, 1)
