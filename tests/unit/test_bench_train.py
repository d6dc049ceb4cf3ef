from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np
import psutil
import pytest

from bench.train.__main__ import planned, read, write
from bench.train.contestants import BASIC, CENTER, CONTESTANTS, DEATHMATCH, SCENARIOS
from bench.train.curves import (
    Point,
    Run,
    median_or_never,
    merge,
    reached_at,
    read_lines,
    stays_from,
)
from bench.train.picture import draw, median_curve, ticks
from bench.train.publish import publish
from bench.train.runner import supervise
from bench.train.table import Runs, figures, targets
from tests.unit.test_trainer_checkpoint import MANIFEST
from trainer import checkpoint

if TYPE_CHECKING:
    from pathlib import Path


def curve(*scores: float) -> tuple[Point, ...]:
    return tuple(Point(10.0 * place, 100 * place, score) for place, score in enumerate(scores, 1))


def a_run(
    contestant: str, *scores: float, scenario: str = BASIC, seed: int = 0, **more: object
) -> Run:
    return replace(Run(contestant, scenario, seed, 200.0, points=curve(*scores)), **more)


def is_alive(pid: int) -> bool:
    """Tell whether a process does anything still; a dead one may wait for its new parent."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def holds(runs: list[Run]) -> dict[str, bool | None]:
    return {row.what: row.holds for row in targets(Runs(runs))}


@pytest.mark.parametrize(
    ("scores", "t"), [((0, 75, 0), 20.0), ((0, 74.9), None), ((), None), ((80,), 10.0)]
)
def test_a_bar_is_reached_by_the_first_evaluation_at_it(
    scores: tuple[float, ...], t: object
) -> None:
    assert reached_at(curve(*scores), 75) == t


@pytest.mark.parametrize(
    ("scores", "t"),
    [
        ((0, 20, 19.9, 20, 21, 22), 40.0),
        ((20, 20, 20), 10.0),
        ((0, 20, 20), None),
        ((20, 20, 20, 19), None),
        ((), None),
    ],
)
def test_staying_means_every_evaluation_to_the_end_and_three_at_least(
    scores: tuple[float, ...], t: object
) -> None:
    assert stays_from(curve(*scores), 20) == t


def test_median_of_times_counts_never_as_latest() -> None:
    assert median_or_never([30.0, None, 10.0]) == 30.0
    assert median_or_never([None, None, 10.0]) is None
    # Half of the seeds never got there, so the time to get there is not that of the others.
    assert median_or_never([None, 10.0]) is None


def test_lines_of_a_contestant_are_sorted_and_chatter_is_skipped() -> None:
    lines = [
        "warning: something\n",
        '{"facts": {"parameters": 7}}\n',
        '{"t": 5.0, "steps": 50, "steps_per_s": 10.0}\n',
        '{"t": 6.0, "steps": 60, "score": 1.5}\n',
    ]
    assert read_lines(lines) == {
        "points": (Point(6.0, 60, 1.5),),
        "speeds": (10.0,),
        "facts": {"parameters": 7},
    }


def test_a_repeated_run_replaces_itself_alone(tmp_path: Path) -> None:
    old = [a_run("sb3_ppo", 1), a_run("sb3_ppo", 2, seed=1), a_run("sb3_ppo", 3, scenario=CENTER)]
    write(tmp_path / "train.json", old)
    known = merge(read(tmp_path / "train.json"), [a_run("sb3_ppo", 4, seed=1)])

    assert {run.key: run.points[0].score for run in known} == {
        ("sb3_ppo", BASIC, 0): 1,
        ("sb3_ppo", BASIC, 1): 4,
        ("sb3_ppo", CENTER, 0): 3,
    }


def test_results_are_strict_json_even_where_nothing_was_reached(tmp_path: Path) -> None:
    write(tmp_path / "train.json", [a_run("sb3_ppo", -300)])
    record = json.loads((tmp_path / "train.json").read_text(), parse_constant=pytest.fail)
    times = [row for row in record["rows"] if row["what"].endswith("to 75")]
    assert [row["measured"] for row in times] == [None]


def test_time_to_solve_is_compared_with_the_sooner_peer() -> None:
    peers = [a_run("sample_factory", 0, 0, 0, 75), a_run("sb3_ppo", 0, 0, 75)]
    what = "Elodrome PPO, basic, to 75, last seed"
    assert holds([*peers, a_run("elodrome_ppo", 75)])[what] is True
    # A third of 30 s is 10 s; one seed of three is late.
    seeds = [
        a_run("elodrome_ppo", *scores, seed=n) for n, scores in enumerate([(75,), (0, 75), (75,)])
    ]
    assert holds([*peers, *seeds])[what] is False
    assert holds([*peers, a_run("elodrome_ppo", 74)])[what] is False


def test_a_peer_that_never_got_there_counts_with_its_cap() -> None:
    runs = Runs([a_run("sb3_dqn", 69), a_run("double_dqn", 60, 69)])
    assert runs.soonest(("sb3_dqn", "double_dqn"), BASIC) == 200.0


def test_speed_is_the_median_window_of_all_seeds() -> None:
    alone = a_run("raw_2", speeds=(16_000.0,))
    learning = [
        a_run("elodrome_ppo", speeds=(7_900.0, 8_000.0), seed=0),
        a_run("elodrome_ppo", speeds=(9_000.0,), seed=1),
    ]
    assert holds([alone, *learning]) == {"PPO with defaults over ViZDoom alone": True}
    assert holds([alone, *learning[:1]]) == {"PPO with defaults over ViZDoom alone": False}


def test_unmeasured_targets_are_left_out() -> None:
    assert targets(Runs([])) == []
    assert figures(Runs([])) == []
    never = figures(Runs([a_run("sb3_ppo", 0, 1)]))[-1]
    assert math.isinf(never.measured)


def test_turns_alternate_and_what_does_not_learn_runs_once() -> None:
    plan = [
        (contestant.name, scenario, seed, cap)
        for contestant, scenario, seed, cap in planned(
            ["raw_1", "sb3_ppo", "sb3_dqn"], [BASIC, CENTER], seeds=2, cap_s=100.0
        )
    ]
    assert plan == [
        ("raw_1", BASIC, 0, 60.0),
        ("sb3_ppo", BASIC, 0, 100.0),
        ("sb3_dqn", BASIC, 0, 100.0),
        ("raw_1", CENTER, 0, 60.0),
        ("sb3_ppo", CENTER, 0, 100.0),
        ("sb3_ppo", BASIC, 1, 100.0),
        ("sb3_dqn", BASIC, 1, 100.0),
        ("sb3_ppo", CENTER, 1, 100.0),
    ]
    assert len(list(planned(["elodrome_ppo"], [DEATHMATCH], seeds=3, cap_s=100.0))) == 1


def test_median_curve_keeps_scores_until_the_next_evaluation() -> None:
    early = (Point(1, 0, 0.0), Point(3, 0, 10.0), Point(9, 0, 10.0))
    late = (Point(2, 0, 2.0), Point(4, 0, 4.0))
    assert median_curve([early, late]) == [(2, 1.0), (3, 6.0), (4, 7.0)]


def test_picture_has_every_curve_inside_its_panel() -> None:
    runs = [
        a_run("sb3_ppo", -300, 76),
        a_run("sb3_ppo", -200, 20, 81, seed=1),
        a_run("sample_factory", 0, 19, scenario=CENTER),
    ]
    root = ET.fromstring(draw(runs))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    lines = [
        [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
        for line in root.iter("{http://www.w3.org/2000/svg}polyline")
    ]
    texts = "".join(root.itertext())

    # Each run, and the median of each contestant in each panel.
    assert sorted(map(len, lines)) == [2, 2, 2, 2, 3]
    assert all(0 <= x <= width and 0 <= y <= height for line in lines for x, y in line)
    assert CONTESTANTS["sb3_ppo"].label in texts
    assert SCENARIOS[CENTER].unit in texts


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 200, [0, 50, 100, 150, 200]),
        (-300, 86, [-300, -250, -200, -150, -100, -50, 0, 50]),
        (0, 19.3, [0, 5, 10, 15]),
        (0, 0.9, [0, 0.2, 0.4, 0.6, 0.8]),
    ],
)
def test_ticks_are_round_and_few(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_picture_of_nothing_is_a_picture() -> None:
    assert ET.fromstring(draw([])).tag.endswith("svg")


def test_an_agent_is_published_without_what_it_learned_with(tmp_path: Path) -> None:
    network, optimizer = np.ones(3, np.float32), np.ones(7, np.float32)
    source, kept = tmp_path / "20.safetensors", tmp_path / "agent.safetensors"
    checkpoint.write(source, MANIFEST, {"network.a": network, "optimizer.a": optimizer})
    publish(source, kept, curve(0.5, 2.0))
    assert checkpoint.read_manifest(kept) == MANIFEST
    assert checkpoint.read_group(kept, "network")["a"].tolist() == network.tolist()
    assert checkpoint.read_group(kept, "optimizer") == {}
    lines = [json.loads(line) for line in kept.with_suffix(".jsonl").read_text().splitlines()]
    assert lines == [
        {"step": 100, "values": {"eval_score": 0.5}},
        {"step": 200, "values": {"eval_score": 2.0}},
    ]


def test_nothing_outlives_its_contestant(tmp_path: Path) -> None:
    """Not even what left its session, ignores requests to end and holds the output open."""
    orphan = (
        "import os, signal, time; os.setsid(); signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    )
    script = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {orphan!r}])\n"
        "print(child.pid, flush=True)\n"
    )
    ended = supervise([sys.executable, "-c", script], tmp_path, limit_s=60, grace_s=0)

    assert (ended.how, ended.orphans) == ("done", 1)
    assert not is_alive(int((tmp_path / "stdout").read_text()))


def test_a_contestant_is_stopped_at_its_limit(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    assert supervise(command, tmp_path, limit_s=0.2).how == "limit"


def test_a_contestant_that_fails_says_so(tmp_path: Path) -> None:
    assert supervise([sys.executable, "-c", "exit(3)"], tmp_path, limit_s=60).how == "exit code 3"
