"""An install comes up, is looked at, goes down, and finds everything again."""

from __future__ import annotations

import itertools
import os
import signal
import stat
from typing import TYPE_CHECKING

import psutil

from deploy.laptop import lock, view
from deploy.laptop.child import State
from deploy.laptop.programs import answers, listens
from tests.system import training
from tests.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from deploy.laptop.process import Identity
    from tests.system.stack import Stack

    NewStack = Callable[..., Stack]

EVERYTHING = ["postgres", "nats", "gateway", "registry", "executor", "evaluator", "sessions"]
IDLE_LIMIT_BYTES = 900_000_000
SUPERVISOR_LIMIT_BYTES = 35 << 20


def test_every_process_is_ready_and_small(stack: Stack) -> None:
    assert [entry.name for entry in stack.record.entries] == EVERYTHING
    assert {entry.state for entry in stack.record.entries} == {State.READY}
    assert psutil.Process(stack.record.supervisor.pid).memory_info().rss < SUPERVISOR_LIMIT_BYTES


def test_secrets_are_readable_by_their_owner_only(stack: Stack) -> None:
    for name in ("install.json", "supervisor.json", "nats/nats.conf"):
        assert stat.S_IMODE((stack.home / name).stat().st_mode) == 0o600
    for key in (stack.home / "keys").iterdir():
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_status_shows_every_process(stack: Stack) -> None:
    shown = stack.run("status")
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[0].split()[:6] == ["PROCESS", "PID", "STATE", "PORT", "MEMORY", "RESTARTS"]
    states = {line.split()[0]: line.split()[1:3] for line in lines[1:] if line}
    for name in EVERYTHING:
        assert states[name] == [str(stack.identity(name).pid), "READY"]
    assert f"{stack.install.url} is ready" in shown.stdout


def test_logs_of_one_process_are_its_own(stack: Stack) -> None:
    shown = stack.run("logs", "nats", "--once")
    assert "Server is ready" in shown.stdout
    unknown = stack.run("logs", "nobody", "--once")
    assert unknown.returncode == 1
    assert "no log of 'nobody'" in unknown.stderr


def test_a_second_supervisor_is_told_who_holds_the_install(stack: Stack) -> None:
    refused = stack.run("run")
    assert refused.returncode == 1
    assert f"held by supervisor {stack.record.supervisor.pid}" in refused.stderr
    again = stack.run("up")
    assert again.returncode == 0
    assert f"held by supervisor {stack.record.supervisor.pid}" in again.stdout


def test_down_keeps_what_was_stored_and_a_run_goes_on_after_up(new_stack: NewStack) -> None:
    one = new_stack()
    first = one.run("up")
    assert first.returncode == 0, first.stderr
    assert one.install.admin_password in first.stdout
    assert view.install_bytes(one.home) < IDLE_LIMIT_BYTES  # before anybody uses it
    created = one.admin().post("/models", json={"name": "kept"})
    assert created.status_code == 201, created.text
    run_id = training.start(one.admin())
    training.reached(one.admin(), run_id, training.SMALL["checkpoint_interval"] + 1)
    assert len(one.workers()) == 1

    assert one.run("down").returncode == 0
    assert one.workers() == []
    assert not listens(one.install.ports["http"])
    assert one.run("status").returncode == 3

    second = one.run("up")
    assert second.returncode == 0, second.stderr
    assert one.install.admin_password not in second.stdout
    admin = one.admin()
    assert admin.get(f"/models/{created.json()['id']}").json()["name"] == "kept"
    check_nothing_is_missing(admin, run_id)


def check_nothing_is_missing(admin: httpx.Client, run_id: str) -> None:
    """Look at a run whose worker was asked to stop, and saved, before it was through."""
    ended = training.settled(admin, run_id)
    assert ended["state"] == "COMPLETED", ended["last_error"]
    assert ended["is_resumed"]
    assert ended["steps_lost"] == 0
    (steps,) = [
        one["steps"] for one in training.history(admin, run_id) if one["name"] == "steps_per_s"
    ]
    apart = {later - earlier for earlier, later in itertools.pairwise(steps)}
    window = training.SMALL["games"] * training.SMALL["rollout_steps"]
    assert max(apart) == training.SMALL["metrics_interval"] * window


def test_two_installs_live_side_by_side(stack: Stack, new_stack: NewStack) -> None:
    other = new_stack().start()
    assert set(other.install.ports.values()).isdisjoint(stack.install.ports.values())
    mine = stack.admin().post("/models", json={"name": "only-here"}).json()
    assert other.admin().get(f"/models/{mine['id']}").status_code == 404
    foreign = stack.admin().headers["authorization"]
    refused = other.anonymous().get("/models", headers={"authorization": foreign})
    assert refused.status_code == 401


def test_a_taken_port_is_named_with_its_variable(stack: Stack, new_stack: NewStack) -> None:
    port = stack.install.ports["registry"]
    blocked = new_stack(ELODROME_REGISTRY_GRPC_PORT=str(port)).run("up")
    assert blocked.returncode == 1
    assert f"port {port} (registry)" in blocked.stderr
    assert "ELODROME_REGISTRY_GRPC_PORT" in blocked.stderr
    assert "ELODROME_PORT_OFFSET" in blocked.stderr


def test_what_a_killed_supervisor_left_is_taken_over_by_up_and_ended_by_down(
    new_stack: NewStack,
) -> None:
    one = new_stack().start()
    left = kill_supervisor(one)
    assert answers(one.install.ports["http"], "/readyz")  # the platform outlives its supervisor
    assert "GONE" in one.run("status").stdout

    assert one.run("up").returncode == 0
    assert all(identity.process() is None for identity in left.values())
    assert {entry.state for entry in one.record.entries} == {State.READY}

    left = kill_supervisor(one)
    assert one.run("down").returncode == 0
    assert all(identity.process() is None for identity in left.values())


def kill_supervisor(one: Stack) -> dict[str, Identity]:
    """Kill it with no chance to clean up; answers what it leaves behind, by name."""
    left = {name: one.identity(name) for name in EVERYTHING}
    os.kill(one.record.supervisor.pid, signal.SIGKILL)
    eventually_sync(lambda: lock.holder(one.home) is None)
    return left
