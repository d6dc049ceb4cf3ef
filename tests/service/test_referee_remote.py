"""A sandbox that somebody else started, as the pod of a seat is: reached by TCP."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.laptop.ports import free_port
from referee.matches import Fault, RemoteSandboxes
from tests.referee_matches import a_match
from tests.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
START_S = 20
PLAYS_FIRST = "def act(observation): return observation['legal_actions'][0]"


class Pod:
    """A runner that listens, and its address."""

    def __init__(self) -> None:
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "referee.sandbox.runner", "--listen", str(port)],
            env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/gen"},
        )

    def look_in(self) -> bool:
        """Connect and go away, as a probe does; say whether anybody is there."""
        host, port = self.address.split(":")
        with socket.socket() as connection:
            return connection.connect_ex((host, int(port))) == 0


@pytest.fixture
def pod() -> Iterator[Pod]:
    started = Pod()
    yield started
    started.process.kill()
    started.process.wait()


def test_an_agent_plays_in_a_pod_which_ends_with_the_match(pod: Pod) -> None:
    result = a_match(PLAYS_FIRST, "random", sandboxes=RemoteSandboxes([pod.address], START_S))
    assert (result.void, result.seats[0].fault) == ("", Fault.NONE)
    assert result.steps >= 7
    assert pod.process.wait(10) == 0


def test_whoever_only_looks_in_does_not_take_the_place_of_the_referee(pod: Pod) -> None:
    eventually_sync(pod.look_in)
    assert pod.look_in()
    sandboxes = RemoteSandboxes([pod.address], START_S)
    assert a_match(PLAYS_FIRST, "random", sandboxes=sandboxes).void == ""


def test_an_agent_is_confined_in_a_pod_too(pod: Pod) -> None:
    source = """
import os, resource, socket
def act(observation):
    try:
        socket.socket()
    except PermissionError as error:
        assert len(os.sched_getaffinity(0)) == 1
        raise Exception(resource.getrlimit(resource.RLIMIT_AS), str(error))
"""
    seat = a_match(source, "random", sandboxes=RemoteSandboxes([pod.address], START_S)).seats[0]
    assert "(536870912, 536870912)" in seat.message
    assert "Operation not permitted" in seat.message


def test_strings_have_the_same_hash_in_every_pod(pod: Pod) -> None:
    fixed = os.environ | {"PYTHONHASHSEED": "0"}
    told = subprocess.check_output([sys.executable, "-c", "print(hash('x'))"], env=fixed, text=True)
    source = "def act(observation): raise Exception(hash('x'))"
    seat = a_match(source, "random", sandboxes=RemoteSandboxes([pod.address], START_S)).seats[0]
    assert seat.message.startswith(f"Exception: {told.strip()} ")


def test_an_agent_whose_pod_goes_away_has_crashed(pod: Pod) -> None:
    source = "import os\ndef act(observation): os.kill(os.getpid(), 9)"
    seat = a_match(source, "random", sandboxes=RemoteSandboxes([pod.address], START_S)).seats[0]
    assert (seat.fault, seat.message) == (Fault.CRASHED, "its process ended")
    assert pod.process.wait(10) == -9


def test_seats_have_pods_in_their_order(pod: Pod) -> None:
    sandboxes = RemoteSandboxes(["127.0.0.1:1", pod.address], START_S)
    result = a_match("random", PLAYS_FIRST, sandboxes=sandboxes)
    assert (result.void, result.seats[1].fault) == ("", Fault.NONE)
