"""The command line against an install that answers as the test says."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from elodrome_sdk.cli.app import app
from elodrome_sdk.cli.command import ExitCode
from typer.testing import CliRunner

from tests.service.cli_install import Answer, Install, events, refusal, running_install

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

RUN = {
    "id": "11111111-1111-4111-8111-111111111111",
    "name": "first",
    "type": "TRAINING",
    "state": "RUNNING",
    "config": {"algorithm": "DQN"},
    "progress": {"progress_percent": 12.5},
}
MODEL_ID = "22222222-2222-4222-8222-222222222222"
VERSION_ID = "33333333-3333-4333-8333-333333333333"


class Terminal:
    """The command line as a person uses it on one install."""

    def __init__(self, install: Install, home: Path) -> None:
        self._runner = CliRunner(
            env={
                "ELODROME_URL": install.url,
                "ELODROME_API_KEY": "",
                "XDG_CONFIG_HOME": str(home),
                "COLUMNS": "200",
                "NO_COLOR": "1",
            }
        )

    def run(self, *arguments: str, typed: str = "") -> Result:
        return self._runner.invoke(app, arguments, input=typed)

    def ok(self, *arguments: str, typed: str = "") -> str:
        """Run a command that must go well; return what it printed."""
        result = self.run(*arguments, typed=typed)
        assert result.exit_code == 0, result.output
        return result.stdout


@pytest.fixture
def install() -> Iterator[Install]:
    with running_install() as running:
        yield running


@pytest.fixture
def terminal(install: Install, tmp_path: Path) -> Terminal:
    return Terminal(install, tmp_path)


def commands() -> list[str]:
    """Every command there is, as it is typed."""
    named = [one.name for one in app.registered_commands]
    for group in app.registered_groups:
        prefix = f"{group.name} " if isinstance(group.name, str) else ""
        named += [f"{prefix}{one.name}" for one in group.typer_instance.registered_commands]
    return named


def test_every_command_explains_itself_and_takes_url_and_json(terminal: Terminal) -> None:
    assert {"login", "run", "runs list", "watch", "promote", "sessions start"} <= set(commands())
    for name in commands():
        text = terminal.ok(*name.split(), "--help")
        assert "--url" in text, name
        assert "--json" in text, name


def test_login_prompts_and_later_commands_are_signed_in(
    install: Install, terminal: Terminal
) -> None:
    user = {"username": "ada", "email": "ada@example.org"}
    tokens = {"access_token": "a", "refresh_token": "r", "expires_in_s": 900, "user": user}
    install.on("POST /auth/login", tokens)
    install.on("GET /users/me", user)
    printed = terminal.ok("login", typed="ada@example.org\na long password\n")
    assert "ada" in printed
    assert "a long password" not in printed
    sent = {"email": "ada@example.org", "password": "a long password"}
    assert install.requests[0].body == sent
    assert "ada@example.org" in terminal.ok("whoami")
    assert install.requests[-1].headers["authorization"] == "Bearer a"


def test_password_comes_from_standard_input(install: Install, terminal: Terminal) -> None:
    user = {"username": "ada"}
    install.on("POST /auth/login", {"access_token": "a", "expires_in_s": 9, "user": user})
    printed = terminal.ok(
        "login", "--email", "ada", "--password-stdin", "--json", typed="se cret\n"
    )
    assert install.requests[0].body["password"] == "se cret"
    assert json.loads(printed) == user


def test_lists_are_tables_for_people_and_the_answer_for_programs(
    install: Install, terminal: Terminal
) -> None:
    page = {"items": [RUN], "next_page_token": "more", "total": 9}
    install.on("GET /runs", page)
    result = terminal.run("runs", "list", "--state", "running", "--state", "paused", "--tag", "a")
    assert RUN["id"] in result.stdout
    assert "RUNNING" in result.stdout
    assert "--page more" in result.stderr
    assert install.requests[0].query["states"] == ["RUNNING", "PAUSED"]
    assert json.loads(terminal.ok("runs", "list", "--json")) == page


def test_run_is_started_with_settings(install: Install, terminal: Terminal) -> None:
    install.on("POST /runs", Answer(201, RUN))
    install.on("GET /models", {"items": [{"id": MODEL_ID}]})
    terminal.ok(
        *("run", "--scenario", "basic", "--max-iterations", "7", "--seed", "3"),
        *("--set", "learning_rate=0.001", "--set", "note=x=y", "--model", "doom", "--tag", "t"),
    )
    body = install.sent("POST /runs")[0].body
    assert body["config"] == {
        "algorithm": "PPO",
        "game": "doom",
        "scenario": "basic",
        "max_iterations": 7,
        "learning_rate": 0.001,
        "note": "x=y",
    }
    assert (body["seed"], body["model_id"], body["tags"]) == (3, MODEL_ID, ["t"])
    assert install.sent("GET /models")[0].query["name"] == ["doom"]


def test_config_file_is_taken_as_it_is(
    install: Install, terminal: Terminal, tmp_path: Path
) -> None:
    install.on("POST /runs", RUN)
    path = tmp_path / "config.json"
    path.write_text('{"algorithm": "DQN", "seed": 1}')
    terminal.ok("run", "--config", str(path), "--set", "seed=2")
    assert install.requests[0].body["config"] == {"algorithm": "DQN", "seed": 2}
    path.write_text("[]")
    result = terminal.run("run", "--config", str(path))
    assert result.exit_code == ExitCode.USAGE
    assert len(install.requests) == 1


@pytest.mark.parametrize("verb", ["stop", "cancel", "pause", "resume", "retry"])
def test_runs_are_steered(install: Install, terminal: Terminal, verb: str) -> None:
    install.on(f"POST /runs/{RUN['id']}/{verb}", RUN)
    assert json.loads(terminal.ok("runs", verb, RUN["id"], "--json")) == RUN


def test_watch_tells_the_end_by_its_exit_code(install: Install, terminal: Terminal) -> None:
    path = f"GET /runs/{RUN['id']}/watch"
    went = [
        ("1", "state", {"state": "RUNNING", "attempt": 1}),
        ("2", "progress", {"progress_percent": 50, "estimated_remaining_s": 61, "phase": "learn"}),
        ("3", "metrics", {"step": 4, "values": {"reward": 12.5, "loss": "NaN"}}),
        ("4", "checkpoint", {"checkpoint_id": "c-1", "iteration": 4}),
        ("5", "progress", {"progress_percent": 51, "estimated_remaining_s": 60, "phase": "learn"}),
    ]
    install.on(path, events(*went, ("6", "done", {"state": "COMPLETED"})))
    printed = terminal.ok("watch", RUN["id"])
    assert "50 %" in printed
    assert "1 min 01 s left" in printed
    assert "reward 12.5" in printed
    assert "loss NaN" in printed
    assert "checkpoint c-1" in printed
    failed = {"state": "FAILED", "reason": "CRASH", "last_error": "out of [memory]"}
    install.on(path, events(("6", "done", failed)))
    result = terminal.run("watch", RUN["id"])
    assert result.exit_code == ExitCode.FAILED
    assert "out of [memory]" in result.stdout
    lines = terminal.run("watch", RUN["id"], "--json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [{"id": "6", "event": "done", "data": failed}]
    result = terminal.run("watch", RUN["id"], "--kind", "planet")
    assert result.exit_code == ExitCode.USAGE


def test_evaluation_is_run_and_watched(install: Install, terminal: Terminal) -> None:
    install.on("GET /suites", {"items": [{"id": "suite-1"}]})
    install.on("POST /evaluations", {"id": "e-1", "state": "PENDING"})
    metric = {"metric": "mean_return", "mean": 75.5, "lower": 70.25, "upper": 80.0}
    done = {"evaluation": {"state": "COMPLETED", "metrics": [metric]}}
    install.on(
        "GET /evaluations/e-1/watch",
        events(("1", "progress", {"percent": 100, "episodes_done": 20}), ("2", "done", done)),
    )
    printed = terminal.ok("eval", "run", "--suite", "basic", "--agent", "random", "--watch")
    assert "mean_return  75.5  [70.25, 80]" in printed
    sent = install.sent("POST /evaluations")[0].body
    assert sent == {"suite_id": "suite-1", "agent": "random", "fresh": False}
    both = terminal.run("eval", "run", "--suite", "s", "--agent", "a", "--checkpoint", "c")
    assert both.exit_code == ExitCode.USAGE


def test_gate_that_does_not_pass_is_seen_in_the_exit_code(
    install: Install, terminal: Terminal
) -> None:
    install.on("GET /gate-policies", {"items": [{"id": "policy-1"}]})
    install.on("GET /versions:resolve", {"id": VERSION_ID})
    check = {"rule": "better", "state": "FAILED", "value": 0.1, "message": "not better"}
    decision = {"id": "d-1", "passed": False, "checks": [check]}
    install.on("POST /gates/decide", Answer(201, decision))
    result = terminal.run("gate", "decide", "--policy", "default", "--version", "doom@champion")
    assert result.exit_code == ExitCode.FAILED
    assert "not better" in result.stdout
    sent = install.sent("POST /gates/decide")[0].body
    assert (sent["policy_id"], sent["version_id"]) == ("policy-1", VERSION_ID)
    assert install.sent("GET /versions:resolve")[0].query["reference"] == ["doom@champion"]


def test_promotion_without_a_gate_says_what_to_do(install: Install, terminal: Terminal) -> None:
    install.on(
        f"POST /versions/{VERSION_ID}/promote",
        refusal(412, "FAILED_PRECONDITION", "GATE_NOT_PASSED", "no passing decision"),
    )
    result = terminal.run("promote", VERSION_ID)
    assert result.exit_code == ExitCode.CONFLICT
    assert "no passing decision" in result.stderr
    assert "elodrome gate decide" in result.stderr
    assert terminal.run("promote", VERSION_ID, "--override").exit_code == ExitCode.USAGE


def test_sessions_are_played_to_their_summary(install: Install, terminal: Terminal) -> None:
    session = {"id": "s-1", "mode": "DUEL", "state": "ACTIVE", "opponent": {"model_name": "doom"}}
    install.on("POST /sessions/start", Answer(201, session))
    install.on("POST /sessions/s-1/event", Answer(201, {"id": "e", "sequence": 1, "late": False}))
    install.on("POST /sessions/s-1/end", session | {"state": "ENDED", "score": 100})
    insight = {"rule": "low_accuracy", "kind": "WEAKNESS", "value": 0.1, "text": "aim first"}
    drill = {"name": "aim_tracking", "title": "Track, then fire"}
    summary = {"score": 100, "counts": {"shot": 3}, "insights": [insight], "drills": [drill]}
    install.on("GET /sessions/s-1/summary", summary)
    assert "doom" in terminal.ok("sessions", "start", "--mode", "duel", "--style", "calm")
    started = install.requests[0].body
    assert (started["mode"], started["difficulty"], started["opponent_style"]) == (
        "DUEL",
        5,
        "calm",
    )
    terminal.ok(
        "sessions", "event", "s-1", "--t-ms", "5", "--type", "shot", "--payload", '{"hit":1}'
    )
    assert install.requests[1].body == {"t_ms": 5, "type": "shot", "payload": {"hit": 1}}
    assert "ENDED" in terminal.ok("sessions", "end", "s-1")
    assert install.requests[2].body == {}
    printed = terminal.ok("sessions", "summary", "s-1")
    assert "shot 3" in printed
    assert "aim first" in printed
    assert "aim_tracking" in printed


def test_logs_are_printed_without_their_escapes(install: Install, terminal: Terminal) -> None:
    lines = [{"text": "one"}, {"text": "\x1b[2Jtwo\ttabbed"}]
    path = f"/runs/{RUN['id']}/logs"
    install.on(f"GET {path}", {"items": lines})
    assert terminal.ok("logs", RUN["id"]) == "one\n\\x1b[2Jtwo\ttabbed\n"
    terminal.ok("logs", RUN["id"], "--tail", "5")
    assert install.requests[-1].query["tail"] == ["true"]
    install.on(f"GET {path}/watch", events(("1", "line", lines[0]), ("2", "done", {})))
    assert terminal.ok("logs", RUN["id"], "--follow") == "one\n"


def test_download_keeps_only_what_matches_its_digest(
    install: Install, terminal: Terminal, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 4
    sha256 = hashlib.sha256(data).hexdigest()
    install.on("GET /checkpoints/c-1", {"artifact": {"sha256": sha256}})
    install.on("GET /checkpoints/c-1/download", Answer(raw=data))
    target = tmp_path / "best.safetensors"
    terminal.ok("checkpoints", "download", "c-1", "-o", str(target))
    assert target.read_bytes() == data
    install.on("GET /checkpoints/c-1/download", Answer(raw=data[:-1]))
    other = tmp_path / "other.safetensors"
    result = terminal.run("checkpoints", "download", "c-1", "-o", str(other))
    assert result.exit_code == ExitCode.FAILED
    install.on("GET /checkpoints/c-1/download", Answer(raw=data[:-1], cut=True))
    result = terminal.run("checkpoints", "download", "c-1", "-o", str(other))
    assert result.exit_code == ExitCode.UNREACHABLE
    assert [path.name for path in tmp_path.glob("*.safetensors*")] == ["best.safetensors"]


REFUSALS: list[tuple[Answer, ExitCode, str]] = [
    (
        refusal(422, "INVALID_ARGUMENT", "INVALID_FIELD", "mode: must be one of", field="mode"),
        ExitCode.USAGE,
        "mode",
    ),
    (
        refusal(401, "UNAUTHENTICATED", "NO_CREDENTIALS", "not signed in"),
        ExitCode.NOT_ALLOWED,
        "elodrome login",
    ),
    (
        refusal(403, "PERMISSION_DENIED", "ROLE", "viewers do not"),
        ExitCode.NOT_ALLOWED,
        "another role",
    ),
    (refusal(404, "NOT_FOUND", "RUN_NOT_FOUND", "no run"), ExitCode.NOT_FOUND, "runs list"),
    (
        refusal(409, "FAILED_PRECONDITION", "NO_STABLE_VERSION", "nothing promoted"),
        ExitCode.CONFLICT,
        "elodrome promote",
    ),
    (
        Answer(429, {"error": {"message": "slow down"}}, headers={"retry-after": "7"}),
        ExitCode.LIMITED,
        "again in 7 s",
    ),
    (refusal(500, "INTERNAL", "INTERNAL", "internal error"), ExitCode.INTERNAL, "r-1"),
]


@pytest.mark.parametrize(("answer", "code", "advice"), REFUSALS)
def test_refusals_say_what_to_do(
    install: Install, terminal: Terminal, answer: Answer, code: ExitCode, advice: str
) -> None:
    install.on(f"GET /runs/{RUN['id']}", answer)
    result = terminal.run("runs", "get", RUN["id"])
    assert result.exit_code == code
    assert answer.body["error"]["message"] in result.stderr
    assert advice in result.stderr
    assert result.stdout == ""
    as_json = json.loads(terminal.run("runs", "get", RUN["id"], "--json").stderr)
    assert as_json["error"]["message"] == answer.body["error"]["message"]


def test_no_answer_says_how_to_start_the_platform(terminal: Terminal) -> None:
    result = terminal.run("runs", "list", "--url", "http://127.0.0.1:1")
    assert result.exit_code == ExitCode.UNREACHABLE
    assert "make up" in result.stderr
    assert "ELODROME_URL" in result.stderr
    as_json = terminal.run("runs", "list", "--url", "http://127.0.0.1:1", "--json")
    assert json.loads(as_json.stderr)["error"]["reason"] == "UNREACHABLE"


def test_unknown_name_is_not_found(install: Install, terminal: Terminal) -> None:
    install.on("GET /models", {"items": []})
    result = terminal.run("sessions", "start", "--model", "nobody")
    assert result.exit_code == ExitCode.NOT_FOUND
    assert "no model is named 'nobody'" in result.stderr


def test_exit_codes_are_documented(terminal: Terminal, pytestconfig: pytest.Config) -> None:
    readme = (pytestconfig.rootpath / "sdk" / "README.md").read_text()
    shown: Any = terminal.ok("--help")
    for code in ExitCode:
        assert f"| {code.value} |" in readme
        assert f"{code.value} " in shown


def test_shells_get_completion(terminal: Terminal) -> None:
    result = terminal._runner.invoke(
        app,
        [],
        env={"_ELODROME_COMPLETE": "complete_bash", "COMP_WORDS": "elodrome se", "COMP_CWORD": "1"},
        prog_name="elodrome",
    )
    assert "sessions" in result.stdout
