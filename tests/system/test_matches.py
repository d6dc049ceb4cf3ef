"""Agents that are submitted, built and play, with workers as processes and as Jobs of a cluster."""

from __future__ import annotations

import io
import uuid
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.stack import ClusterStack
from tests.waiting import eventually_sync

if TYPE_CHECKING:
    import httpx

    from tests.system.stack import Stack

DRIVERS = ("process", "kubernetes")
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "VOID"}
FIRST = "def act(observation):\n    return observation['legal_actions'][0]\n"
LAST = "def act(observation):\n    return observation['legal_actions'][-1]\n"
SLOW = """
import time

def act(observation):
    if observation["step"] in (2, 3):
        time.sleep(4)
    return observation["legal_actions"][0]
"""
# In its validation game it has the first seat.
TELLTALE = """
import os
import socket

def act(observation):
    if observation["seat"] == 0:
        return observation["legal_actions"][0]
    try:
        socket.create_connection(("127.0.0.1", 8080), timeout=1)
        reached = "reached"
    except OSError as error:
        reached = type(error).__name__
    raise RuntimeError(f"{reached} {sorted(os.environ)} {os.getuid()}")
"""


def archive(source: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        packed.writestr("agent.py", source)
    return content.getvalue()


def agent(client: httpx.Client) -> str:
    body = {"name": f"agent-{uuid.uuid4().hex[:8]}", "game": "connect_four"}
    answer = client.post("/agents", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def submit(client: httpx.Client, agent_id: str, source: str) -> dict[str, Any]:
    """Submit code, and return the submission once its build has ended."""
    answer = client.post(f"/agents/{agent_id}/submissions", content=archive(source))
    assert answer.status_code == 201, answer.text
    path = f"/submissions/{answer.json()['id']}"

    def built() -> dict[str, Any] | None:
        submission = client.get(path).json()
        return None if submission["state"] in {"PENDING", "BUILDING"} else submission

    found = eventually_sync(built, within_s=60)
    assert found is not None
    return found


def playing(client: httpx.Client, source: str) -> str:
    agent_id = agent(client)
    submission = submit(client, agent_id, source)
    assert submission["state"] == "ACTIVE", submission["build"]
    return agent_id


def start(client: httpx.Client, *agents: str) -> str:
    seats = [{"agent_id": agent_id} for agent_id in agents]
    answer = client.post("/matches", json={"game": "connect_four", "seats": seats, "seed": 5})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def ended(client: httpx.Client, match_id: str) -> dict[str, Any]:
    def over() -> dict[str, Any] | None:
        match = client.get(f"/matches/{match_id}").json()
        return match if match["state"] in ENDED else None

    found = eventually_sync(over, within_s=60)
    assert found is not None
    return found


def test_what_is_submitted_is_built_and_plays_and_leaves_a_replay(stack: Stack) -> None:
    client = stack.admin()
    first, last = playing(client, FIRST), playing(client, LAST)
    match = ended(client, start(client, first, last))
    assert match["state"] == "COMPLETED", match
    # Four in the leftmost column, before the other has four in the rightmost.
    assert (match["winner"], match["steps"]) == (0, 7)
    assert client.get(f"/agents/{first}").json()["wins"] == 1
    assert client.get(f"/agents/{last}").json()["losses"] == 1
    if isinstance(stack, ClusterStack):
        [job] = [
            job
            for job in stack.cluster.store.list("jobs", namespace=stack.cluster.namespace)
            if job["metadata"]["labels"].get("elo/match") == match["id"]
        ]
        name, namespace = job["metadata"]["name"], stack.cluster.namespace
        stack.cluster.store.remove("jobs", name, namespace)
    replay = client.get(f"/matches/{match['id']}/replay")
    assert replay.headers["content-type"] == "application/json"
    frames = replay.json()["frames"]
    assert [frame["action"] for frame in frames] == [0, 6, 0, 6, 0, 6, 0]
    again = ended(client, start(client, first, last))
    frames_again = client.get(f"/matches/{again['id']}/replay").json()["frames"]
    assert [frame["state"] for frame in frames_again] == [frame["state"] for frame in frames]


def test_code_sees_no_secret_and_no_network_and_its_end_is_a_forfeit(stack: Stack) -> None:
    client = stack.admin()
    match = ended(client, start(client, playing(client, FIRST), playing(client, TELLTALE)))
    assert (match["state"], match["winner"]) == ("COMPLETED", 0)
    seat = match["seats"][1]
    assert (seat["fault"], seat["score"]) == ("CRASHED", 0)
    said = seat["message"]
    assert "RuntimeError" in said
    assert "reached" not in said
    assert "ELODROME" not in said
    assert "KUBERNETES" not in said
    assert " 0" not in said.rpartition("]")[2]
    # Its owner alone is told so.
    replay = client.get(f"/matches/{match['id']}/replay")
    assert replay.json()["result"]["seats"][1]["fault"] == "CRASHED"
    assert "RuntimeError" not in replay.text


def test_code_that_cannot_play_is_refused_with_its_rule(stack: Stack) -> None:
    client = stack.admin()
    agent_id = agent(client)
    refused = submit(client, agent_id, "def play(observation):\n    return 0\n")
    assert refused["state"] == "BUILD_FAILED"
    assert refused["build"]["code"]
    assert "act" in refused["build"]["error"]
    crashing = submit(client, agent_id, "def act(observation):\n    return 1 // 0\n")
    assert (crashing["state"], crashing["build"]["code"]) == ("BUILD_FAILED", "CRASHED")
    assert "ZeroDivisionError" in crashing["build"]["error"]
    assert client.get(f"/agents/{agent_id}").json()["active_number"] == 0


def test_a_match_whose_referee_is_killed_counts_for_nobody(stack: Stack) -> None:
    client = stack.admin()
    slow, first = playing(client, SLOW), playing(client, FIRST)
    match_id = start(client, slow, first)
    eventually_sync(
        lambda: client.get(f"/matches/{match_id}").json()["state"] == "RUNNING", within_s=60
    )
    run_id = client.get(f"/matches/{match_id}").json()["run_id"]
    eventually_sync(
        lambda: client.get(f"/runs/{run_id}").json()["progress"].get("current_iteration"),
        within_s=30,
    )
    [referee] = [
        worker for worker in stack.workers() if any("referee" in one for one in worker.cmdline())
    ]
    referee.kill()
    match = ended(client, match_id)
    assert match["state"] == "FAILED"
    assert "its run failed" in match["error"]
    assert client.get(f"/matches/{match_id}/replay").status_code == 404
    record = client.get(f"/agents/{first}").json()
    assert (record["wins"], record["losses"], record["draws"]) == (0, 0, 0)


@pytest.mark.parametrize("path", ["/submissions/{}", "/agents/{}/submissions"])
def test_submissions_of_others_are_not_found(stack: Stack, path: str) -> None:
    admin = stack.admin()
    answer = admin.get(path.format(uuid.uuid4()))
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "NOT_FOUND"
