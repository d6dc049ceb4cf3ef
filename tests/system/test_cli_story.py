"""One person does it all by the command line, on a real install: train, evaluate, promote, play."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import torch
from elodrome_sdk.cli.app import app
from typer.testing import CliRunner

from tests.waiting import eventually_sync
from trainer import arnold, arnold_parameters

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from tests.system.stack import Stack

DRIVERS = ("process", "kubernetes")


class Person:
    """Somebody who types commands on one install."""

    def __init__(self, url: str, home: Path) -> None:
        self._runner = CliRunner(
            env={
                "ELODROME_URL": url,
                "ELODROME_API_KEY": "",
                "XDG_CONFIG_HOME": str(home),
                "COLUMNS": "200",
                "NO_COLOR": "1",
            }
        )

    def types(self, *arguments: str, code: int = 0, answers: str = "") -> Result:
        """Run a command that must exit with `code`."""
        done = self._runner.invoke(app, arguments, input=answers)
        assert done.exit_code == code, (arguments, done.output, done.exception)
        return done

    def reads(self, *arguments: str) -> Any:
        """Run a command and return the JSON that it printed."""
        return json.loads(self.types(*arguments, "--json").stdout)

    def follows(self, *arguments: str) -> list[dict[str, Any]]:
        """Run a command that streams and return its events."""
        lines = self.types(*arguments, "--json").stdout.splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def person(stack: Stack, tmp_path: Path) -> Person:
    somebody = Person(stack.install.url, tmp_path / "config")
    login = ("login", "--email", "admin", "--password-stdin")
    somebody.types(*login, answers=stack.install.admin_password + "\n")
    return somebody


def test_a_person_trains_promotes_and_plays(person: Person, tmp_path: Path) -> None:
    name = f"cli-{uuid.uuid4().hex[:8]}"
    person.types("models", "create", name, "--style", name)
    refused = person.types("sessions", "start", "--model", name, code=5)
    assert "elodrome promote" in refused.stderr
    run_id = train(person, name)
    checkpoint_id = download(person, run_id, tmp_path)
    version_id = promote(person, name, checkpoint_id)
    session = person.reads("sessions", "start", "--style", name)
    assert session["opponent"]["version_id"] == version_id
    play(person, session["id"])


def train(person: Person, name: str) -> str:
    """Train for a moment, look on, and resume looking on where it was."""
    options = ("--max-iterations", "3", "--set", "eval_episodes=1", "--seed", "1")
    events = person.follows("run", *options, "--model", name, "--name", name, "--watch")
    assert events[-1]["event"] == "done"
    assert events[-1]["data"]["state"] == "COMPLETED"
    assert "progress" in {event["event"] for event in events}
    runs = person.reads("runs", "list", "--limit", "200")["items"]
    run_id = next(run["id"] for run in runs if run["name"] == name)
    assert person.follows("watch", run_id, "--cursor", events[-2]["id"]) == events[-1:]
    # What it printed last may come a moment after it has reported.
    eventually_sync(lambda: "done" in person.types("logs", run_id).stdout)
    assert "COMPLETED" in person.types("runs", "stop", run_id, code=5).stderr
    return run_id


def download(person: Person, run_id: str, directory: Path) -> str:
    """Download the newest checkpoint of a run."""
    checkpoint = person.reads("checkpoints", "list", "--run", run_id)["items"][-1]
    target = directory / "newest.safetensors"
    person.types("checkpoints", "download", checkpoint["id"], "-o", str(target))
    assert target.stat().st_size == checkpoint["artifact"]["size_bytes"]
    return checkpoint["id"]


def promote(person: Person, name: str, checkpoint_id: str) -> str:
    """Publish a checkpoint and promote it; without a gate that takes an admin with a reason."""
    version_id = person.reads("models", "publish", name, checkpoint_id)["id"]
    refused = person.types("promote", version_id, code=5)
    assert "elodrome gate decide" in refused.stderr
    promotion = person.reads("promote", f"{name}@1", "--override", "--reason", "a short story")
    assert promotion["version_id"] == version_id
    return version_id


def play(person: Person, session_id: str) -> None:
    """Miss six times, claim a score, end once, and read what it came to."""
    missed = ("--type", "shot", "--payload", '{"hit": false}')
    for t_ms in range(6):
        person.types("sessions", "event", session_id, "--t-ms", str(t_ms), *missed)
    refused = person.types("sessions", "end", session_id, "--score", "99", code=2)
    assert "the events give 0" in refused.stderr
    person.types("sessions", "end", session_id)
    person.types("sessions", "end", session_id, code=5)
    summary = person.reads("sessions", "summary", session_id)
    assert summary["counts"] == {"shot": 6}
    assert [drill["name"] for drill in summary["drills"]] == ["aim_tracking"]
    events = person.follows("sessions", "watch", session_id)
    assert [event["event"] for event in events] == ["event"] * 6 + ["done"]


def test_an_evaluation_of_the_random_agent_is_followed_to_its_result(
    person: Person, tmp_path: Path
) -> None:
    name = f"cli-{uuid.uuid4().hex[:8]}"
    scenario = {"game": "doom", "scenario": "basic", "seeds": [2**30, 2**30 + 1]}
    suite = tmp_path / "suite.json"
    body = {"name": name, "scenarios": [scenario], "metrics": [{"name": "return"}]}
    suite.write_text(json.dumps(body))
    person.types("eval", "create-suite", str(suite))
    printed = person.types("eval", "run", "--suite", name, "--agent", "random", "--watch").stdout
    assert "return  " in printed
    assert "COMPLETED" in printed
    listed = person.reads("eval", "list", "--suite", name)["items"]
    assert [one["percent"] for one in listed] == [100]
    assert "return" in person.types("eval", "get", listed[0]["id"]).stdout


def test_a_player_of_arnold_is_imported_and_judged(person: Person, tmp_path: Path) -> None:
    name = f"arnold-{uuid.uuid4().hex[:8]}"
    declared = arnold_parameters.PRESETS["defend_the_center"].to_mapping() | {"hidden_dim": 16}
    network = arnold.ArnoldNetwork(arnold_parameters.parse(declared))
    state_dict = tmp_path / "defend_the_center.pth"
    torch.save(network.state_dict(), state_dict)
    person.types("models", "create", name)
    options = ("--preset", "defend_the_center", "--set", "hidden_dim=16", "--model", name)
    version = person.reads("import-arnold", str(state_dict), *options)
    assert (version["number"], version["signature"]["observation_shape"]) == (1, [12, 60, 108])

    scenario = {"game": "doom", "scenario": "defend_the_center", "seeds": [2**30]}
    suite = tmp_path / "suite.json"
    body = {"name": name, "scenarios": [scenario], "metrics": [{"name": "decisions"}]}
    suite.write_text(json.dumps(body))
    person.types("eval", "create-suite", str(suite))
    subject = ("--checkpoint", version["checkpoint_id"])
    person.types("eval", "run", "--suite", name, *subject, "--watch")
    (judged,) = person.reads("eval", "list", "--suite", name)["items"]
    assert (judged["state"], judged["percent"]) == ("COMPLETED", 100)


def test_a_run_on_catch_is_trained_judged_and_listed(person: Person, tmp_path: Path) -> None:
    """Sixteen iterations are enough to catch nearly every ball; by chance it is one of four."""
    name = f"catch-{uuid.uuid4().hex[:8]}"
    person.types(
        *("run", "--game", "catch", "--algorithm", "PPO", "--name", name, "--seed", "1"),
        *("--max-iterations", "16", "--set", "checkpoint_interval=8", "--watch"),
    )
    runs = person.reads("runs", "list", "--limit", "100")["items"]
    run = next(one for one in runs if one["name"] == name)
    assert (run["state"], run["game"]) == ("COMPLETED", "catch")
    listed = person.reads("checkpoints", "list", "--run", run["id"])["items"]
    saved = {one["iteration"]: one["id"] for one in listed}
    assert set(saved) == {8, 16}

    suite = tmp_path / "suite.json"
    seeds = list(range(2**30, 2**30 + 20))
    scenario = {"game": "catch", "scenario": "board", "seeds": seeds}
    suite.write_text(json.dumps({"name": name, "scenarios": [scenario]}))
    person.types("eval", "create-suite", str(suite))
    person.types("eval", "run", "--suite", name, "--checkpoint", saved[16], "--watch")
    (judged,) = person.reads("eval", "list", "--suite", name)["items"]
    assert (judged["state"], judged["percent"]) == ("COMPLETED", 100)
    returns = next(one for one in judged["metrics"] if one["metric"] == "return")
    assert returns["mean"] > 0.5


def test_a_signed_out_person_is_told_to_sign_in(person: Person) -> None:
    assert "admin" in person.types("whoami").stdout
    person.types("logout")
    assert "elodrome login" in person.types("whoami", code=3).stderr
