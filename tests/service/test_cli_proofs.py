"""What a run cost and what proves it, on the command line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.service.cli_install import Answer, Install, events, running_install
from tests.service.test_cli_commands import RUN, Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def install() -> Iterator[Install]:
    with running_install() as running:
        yield running


@pytest.fixture
def terminal(install: Install, tmp_path: Path) -> Terminal:
    return Terminal(install, tmp_path)


def test_cpu_seconds_are_shown_and_limited(install: Install, terminal: Terminal) -> None:
    cheap = RUN | {"cpu_s": 12.5, "cpu_limit_s": 60, "certificate": {"state": "NONE"}}
    install.on("POST /runs", Answer(201, cheap))
    install.on("GET /runs", {"items": [cheap]})
    install.on(f"GET /runs/{RUN['id']}/jobs", {"items": [{"attempt": 1, "cpu_s": 12.5}]})
    printed = terminal.ok("run", "--cpu-limit-s", "60")
    assert install.sent("POST /runs")[0].body["cpu_limit_s"] == 60
    assert re.search(r"cpu s +12\.5", printed)
    assert re.search(r"of cpu s +60", printed)
    assert "12.5" in terminal.ok("runs", "list")
    assert "12.5" in terminal.ok("runs", "jobs", RUN["id"])


CERTIFICATE = {
    "state": "PENDING",
    "certification_run_id": "44444444-4444-4444-8444-444444444444",
    "seed": 7,
    "start_checkpoint": {"iteration": 40},
    "end_checkpoint": {"iteration": 60},
    "expected_sha256": "ab" * 32,
}


def test_certify_starts_a_replay_and_says_which(install: Install, terminal: Terminal) -> None:
    install.on(f"POST /runs/{RUN['id']}/certify", RUN | {"certificate": CERTIFICATE})
    printed = terminal.ok("runs", "certify", RUN["id"], "--seed", "7")
    assert install.requests[0].body == {"seed": 7}
    for part in ("PENDING", CERTIFICATE["certification_run_id"], "40", "60", "ab" * 32):
        assert str(part) in printed


@pytest.mark.parametrize(("state", "code"), [("CERTIFIED", 0), ("REFUTED", 1), ("FAILED", 1)])
def test_certify_can_wait_for_the_answer(
    install: Install, terminal: Terminal, state: str, code: int
) -> None:
    proof_id = CERTIFICATE["certification_run_id"]
    install.on(f"POST /runs/{RUN['id']}/certify", RUN | {"certificate": CERTIFICATE})
    done = ("c.1", "done", {"state": "COMPLETED", "reason": state})
    install.on(f"GET /runs/{proof_id}/watch", events(done))
    answer = CERTIFICATE | {"state": state, "replayed_sha256": "cd" * 32}
    install.on(f"GET /runs/{RUN['id']}", RUN | {"certificate": answer})
    result = terminal.run("runs", "certify", RUN["id"], "--watch")
    assert result.exit_code == code
    assert state in result.stdout
    assert "cd" * 32 in result.stdout


def test_provenance_is_a_card_and_the_diff_as_it_is(install: Install, terminal: Terminal) -> None:
    diff = "--- a/x\n+++ b/x\n-[red]old\n+new\n"
    made_of = {"attempt": 2, "commit": "c0ffee", "dirty": True, "diff": diff}
    install.on(f"GET /runs/{RUN['id']}/provenance", made_of)
    printed = terminal.ok("runs", "provenance", RUN["id"], "--attempt", "2")
    assert install.requests[0].query == {"attempt": ["2"]}
    assert "c0ffee" in printed
    assert re.search(r"dirty +yes", printed)
    assert terminal.ok("runs", "provenance", RUN["id"], "--diff") == diff
