"""A match played on this machine by one command, as docs/matches.md tells it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from referee import archives
from referee.local_match import main
from tests.referee_matches import archive, needs_bubblewrap

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "matches.md").read_text(encoding="utf-8")


def documented(language: str) -> str:
    """Return the first block of a language on the page."""
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def run(arguments: Sequence[str], directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/gen"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def moves(replay: dict[str, Any]) -> list[tuple[int, int]]:
    return [(frame["seat"], frame["action"]) for frame in replay["frames"]]


@needs_bubblewrap
def test_the_agent_of_the_page_plays_by_the_command_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(documented("python"))
    python, *arguments = shlex.split(documented("text"))
    assert python == ".venv/bin/python"
    replays = []
    for _ in range(2):
        told = run(arguments, tmp_path).splitlines()
        replays.append(json.loads((tmp_path / "replay.json").read_text()))
    assert re.fullmatch(r"connect_four, seed 7: seat [01] won after \d+ steps", told[0])
    assert told[2].split() == ["seat", "agent", "score", "time_s", "fault"]
    assert [line.split()[1] for line in told[3:]] == ["agent.py", "random"]
    assert replays[0]["result"]["seats"][0]["fault"] == "NONE"
    assert moves(replays[0]) == moves(replays[1])


@needs_bubblewrap
def test_two_files_play_each_other_and_the_one_that_fails_is_told_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.zip").write_bytes(archive("def act(o): return o['legal_actions'][0]"))
    (tmp_path / "bad.py").write_text("def act(observation):\n    return 1 / 0\n")
    assert main(["tic_tac_toe", f"{tmp_path}/good.zip", f"{tmp_path}/bad.py"]) == 0
    told = capsys.readouterr().out
    assert "seat 0 won after 2 steps" in told
    assert "CRASHED: ZeroDivisionError: division by zero (agent.py line 2)" in told


def test_without_bubblewrap_the_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "agent.py").write_text("def act(o): return 0")
    assert main(["tic_tac_toe", f"{tmp_path}/agent.py", "random"]) == 1
    assert "apt-get install bubblewrap" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("chess random random", "argument GAME: invalid choice: 'chess'"),
        ("tic_tac_toe random", "the following arguments are required: OPPONENT"),
        ("tic_tac_toe best random", "argument AGENT: 'best' is neither a .zip nor a .py file"),
        ("tic_tac_toe random none.py", "argument OPPONENT: 'none.py': No such file or directory"),
        ("tic_tac_toe {here}/bad.py random", "bad.py': NO_ACT: agent.py defines no function"),
        ("tic_tac_toe {here}/bad.zip random", "bad.zip': NOT_A_ZIP: "),
        ("tic_tac_toe random random --seed -1", "argument --seed: '-1' is no integer in [0, "),
        ("tic_tac_toe random random --replay {here}", "argument --replay: "),
        ("tic_tac_toe random random --replay /nowhere/x", "'/nowhere/x' cannot be written"),
    ],
)
def test_what_cannot_be_played_is_refused_before_it_begins(
    arguments: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.py").write_text("x = 1")
    (tmp_path / "bad.zip").write_text("x = 1")
    with pytest.raises(SystemExit) as ended:
        main(arguments.format(here=tmp_path).split())
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_the_page_names_every_code_of_an_archive() -> None:
    source = Path(archives.__file__).read_text(encoding="utf-8")
    codes = set(re.findall(r'ArchiveError\(\s*"([A-Z_]+)"', source))
    assert len(codes) == 16
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()
