"""The executor's rules that need no database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from elodrome.registry.v1.checkpoint_pb2 import Checkpoint

from services.executor import certification, judge, log_text, run_config
from services.executor.drivers.driver import Fault, Observation, Phase
from services.executor.judge import Case, Step
from services.executor.lifecycle import Ending
from services.executor.models import certificate
from services.executor.models.job import Job
from services.executor.models.run import Run
from services.executor.settings import ExecutorSettings
from services.executor.states import (
    RUN_MACHINE,
    SETTLED,
    CertificateState,
    JobOutcome,
    JobState,
    RunState,
    RunType,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = ExecutorSettings(database_url="postgresql://", keys_dir=".")
ALIVE = Observation(Phase.RUNNING)


def a_run(**fields: Any) -> Run:
    defaults = {
        "type": RunType.TRAINING,
        "state": RunState.RUNNING,
        "requested_reason": "",
        "time_limit_s": 0,
        "limit_from_s": 0.0,
        "elapsed_s": 0.0,
        "cpu_s": 0.0,
        "cpu_limit_s": 0,
        "cpu_limit_from_s": 0.0,
        "attempt": 1,
        "resumed_attempt": 0,
        "steps_lost": 0,
        "step": 0,
        "current_iteration": 0,
        "max_iterations": 0,
        "phase": "",
        "steps_per_s": 0.0,
        "iterations_per_s": 0.0,
        "checkpoint_count": 0,
    }
    return Run(**defaults | fields)


def a_case(seen: Observation = ALIVE, *, job: dict[str, Any] | None = None, **run: Any) -> Case:
    defaults = {"state": JobState.RUNNING, "expire_time": NOW + timedelta(seconds=60)}
    return Case(a_run(**run), Job(**defaults | (job or {})), seen, NOW)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def outcome_of(case: Case) -> JobOutcome:
    verdict = judge.judge(case, SETTINGS)
    assert isinstance(verdict, Ending)
    return verdict.outcome


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (0, JobOutcome.PLATFORM),
        (1, JobOutcome.CRASH),
        (64, JobOutcome.USER_ERROR),
        (65, JobOutcome.USER_ERROR),
        (66, JobOutcome.DIVERGED),
        (69, JobOutcome.PLATFORM),
        (70, JobOutcome.CRASH),
        (75, JobOutcome.PLATFORM),
        (79, JobOutcome.FENCED),
        (134, JobOutcome.CRASH),
        (137, JobOutcome.VANISHED),
        (143, JobOutcome.REQUESTED),
        (None, JobOutcome.VANISHED),
    ],
)
def test_every_exit_code_has_one_meaning(code: int | None, outcome: JobOutcome) -> None:
    assert outcome_of(a_case(Observation(Phase.EXITED, code))) is outcome


def test_a_worker_that_was_asked_to_stop_and_ends_cleanly_did_so() -> None:
    case = a_case(Observation(Phase.EXITED, 0), requested_state=RunState.STOPPED)
    assert outcome_of(case) is JobOutcome.REQUESTED


def test_running_out_of_memory_is_told_from_a_crash() -> None:
    killed = Observation(Phase.EXITED, 137, Fault.OUT_OF_MEMORY)
    assert outcome_of(a_case(killed)) is JobOutcome.OUT_OF_MEMORY
    raised = Observation(Phase.EXITED, 1, last_words="MemoryError: no room")
    assert outcome_of(a_case(raised)) is JobOutcome.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Fault.OUT_OF_MEMORY, JobOutcome.OUT_OF_MEMORY),
        (Fault.DEADLINE, JobOutcome.TIME_LIMIT),
        (Fault.EVICTED, JobOutcome.EVICTED),
        (Fault.IMAGE_PULL, JobOutcome.IMAGE_PULL),
    ],
)
def test_what_the_place_says_wins_over_the_exit_code(fault: Fault, outcome: JobOutcome) -> None:
    for code in (0, 1, 137, None):
        verdict = judge.judge(a_case(Observation(Phase.EXITED, code, fault, "by x")), SETTINGS)
        assert isinstance(verdict, Ending)
        assert verdict.outcome is outcome
        assert verdict.reason.endswith(": by x")


def test_a_worker_may_wait_for_its_place_but_not_for_an_image_there_is_not() -> None:
    def judged(seconds: float, fault: Fault | None = None, **run: Any) -> Ending | Step:
        job = {"state": JobState.STARTING, "launch_time": ago(seconds), "expire_time": None}
        return judge.judge(
            a_case(Observation(Phase.WAITING, fault=fault), job=job, **run), SETTINGS
        )

    assert judged(299) is Step.NONE
    assert judged(301) is Step.RELAUNCH
    assert judged(59, Fault.IMAGE_PULL) is Step.NONE
    missing = judged(61, Fault.IMAGE_PULL)
    assert isinstance(missing, Ending)
    assert missing.outcome is JobOutcome.IMAGE_PULL
    assert judged(301, requested_state=RunState.STOPPED) is Step.TERMINATE


def test_the_time_to_take_a_lease_counts_from_the_start_of_the_container() -> None:
    job = {"state": JobState.STARTING, "launch_time": ago(3600), "expire_time": None}
    fresh = Observation(Phase.RUNNING, start_time=ago(59))
    assert judge.judge(a_case(fresh, job=job), SETTINGS) is Step.NONE
    assert outcome_of(a_case(Observation(Phase.RUNNING, start_time=ago(61)), job=job)) is (
        JobOutcome.LEASE_EXPIRED
    )


def test_a_silent_worker_on_a_lost_node_was_evicted() -> None:
    silent = {"expire_time": ago(1)}
    assert outcome_of(a_case(job=silent)) is JobOutcome.LEASE_EXPIRED
    lost = Observation(Phase.RUNNING, None, Fault.EVICTED, "node lost")
    assert outcome_of(a_case(lost, job=silent)) is JobOutcome.EVICTED


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({}, "worker_image"),
        ({"worker_image": "example.org/worker"}, "worker_image"),
        ({"worker_image": "example.org/worker:latest"}, "worker_image"),
        ({"worker_image": "a b:1"}, "worker_image"),
        ({"worker_image": "w:1", "kube_namespace": "Not/This"}, "kube_namespace"),
        ({"worker_image": "w:1", "kube_queue": "a=b"}, "kube_queue"),
        ({"worker_image": "w:1", "kube_match_runtime_class": "$x"}, "kube_match_runtime_class"),
        ({"worker_image": "w:1", "kube_image_pull_secrets": ["$x"]}, "kube_image_pull_secrets"),
        ({"worker_image": "w:1", "kube_priority_classes": {"king": "a"}}, "kube_priority_classes"),
    ],
)
def test_a_cluster_that_could_run_no_worker_is_refused_at_start(
    settings: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValueError, match=field):
        ExecutorSettings(database_url="x", keys_dir=".", driver="kubernetes", **settings)


@pytest.mark.parametrize(
    ("job", "run", "expected"),
    [
        ({}, {}, Step.NONE),
        ({}, {"time_limit_s": 10, "elapsed_s": 9.0}, Step.NONE),
        ({}, {"time_limit_s": 10, "elapsed_s": 10.0}, Step.TIME_LIMIT),
        ({}, {"time_limit_s": 10, "elapsed_s": 15.0, "limit_from_s": 8.0}, Step.NONE),
        ({}, {"cpu_s": 1e6}, Step.NONE),
        ({}, {"cpu_limit_s": 10, "cpu_s": 9.9}, Step.NONE),
        ({}, {"cpu_limit_s": 10, "cpu_s": 10.0}, Step.BUDGET),
        ({}, {"cpu_limit_s": 10, "cpu_s": 15.0, "cpu_limit_from_s": 8.0}, Step.NONE),
        ({}, {"requested_state": RunState.PAUSED}, Step.TERMINATE),
        ({"terminate_time": ago(29)}, {"requested_state": RunState.PAUSED}, Step.NONE),
    ],
)
def test_the_next_step_for_a_healthy_worker(
    job: dict[str, Any], run: dict[str, Any], expected: Step
) -> None:
    assert judge.judge(a_case(job=job, **run), SETTINGS) is expected


@pytest.mark.parametrize(
    ("job", "run", "expected"),
    [
        ({"expire_time": ago(1)}, {}, JobOutcome.LEASE_EXPIRED),
        ({"state": JobState.STARTING, "launch_time": ago(61)}, {}, JobOutcome.LEASE_EXPIRED),
        (
            {"terminate_time": ago(31)},
            {"requested_state": RunState.STOPPED},
            JobOutcome.REQUESTED,
        ),
        (
            {"terminate_time": ago(31)},
            {"requested_state": RunState.CANCELLED, "requested_time": ago(4)},
            JobOutcome.REQUESTED,
        ),
        (
            {"terminate_time": ago(301)},
            {
                "requested_state": RunState.STOPPED,
                "requested_reason": "TIME_LIMIT",
                "time_limit_s": 1500,
            },
            JobOutcome.TIME_LIMIT,
        ),
        (
            {"terminate_time": ago(31)},
            {"requested_state": RunState.STOPPED, "requested_reason": "BUDGET"},
            JobOutcome.BUDGET,
        ),
    ],
)
def test_patience_ends(job: dict[str, Any], run: dict[str, Any], expected: JobOutcome) -> None:
    assert outcome_of(a_case(job=job, **run)) is expected


def test_a_run_over_its_limit_has_a_fifth_of_it_to_save() -> None:
    case = a_case(
        job={"terminate_time": ago(299)},
        requested_state=RunState.STOPPED,
        requested_reason="TIME_LIMIT",
        time_limit_s=1500,
    )
    assert judge.judge(case, SETTINGS) is Step.NONE


def test_a_worker_that_was_never_started_is_started_again() -> None:
    case = a_case(Observation(Phase.ABSENT), job={"state": JobState.STARTING, "launch_time": NOW})
    assert judge.judge(case, SETTINGS) is Step.RELAUNCH
    assert outcome_of(a_case(Observation(Phase.ABSENT))) is JobOutcome.VANISHED


def test_settled_runs_move_only_by_a_retry() -> None:
    for state in SETTLED:
        allowed = {new for new in RunState if RUN_MACHINE.allows(state, new)}
        is_final = state in (RunState.COMPLETED, RunState.CANCELLED)
        assert allowed == (set() if is_final else {RunState.PENDING})


def test_progress_measures_speed_and_time_left() -> None:
    run = a_run(max_iterations=1000, work_start_time=NOW)
    for second in range(1, 51):
        run.advance(iteration=10 * second, step=40 * second, now=NOW + timedelta(seconds=second))
    progress = run.progress(NOW + timedelta(seconds=50))
    assert progress.progress_percent == 50
    assert progress.steps_per_s == pytest.approx(40)
    assert progress.estimated_remaining_s == pytest.approx(50)
    assert progress.elapsed_s == pytest.approx(50)


def test_what_is_done_again_is_counted_once() -> None:
    run = a_run(step=100, current_iteration=25, attempt=2)
    run.continue_from(20, 80)
    run.advance(iteration=30, step=120, now=NOW)
    run.continue_from(20, 80)
    assert (run.steps_lost, run.step) == (20, 120)
    anew = a_run(step=100, attempt=2)
    anew.advance(iteration=0, step=10, now=NOW)
    assert anew.steps_lost == 90


def test_time_of_all_attempts_adds_up_and_pauses_do_not_count() -> None:
    run = a_run(time_limit_s=100)
    moments = [NOW + timedelta(seconds=second) for second in (0, 10, 500, 530)]
    for start, end in list(pairwise(moments))[::2]:
        run.begin_work(start)
        run.end_work(end)
    assert run.elapsed_s == 40
    assert run.start_time == NOW
    assert run.time_left_s(moments[-1]) == 60


def test_cpu_seconds_of_an_attempt_never_fall_and_count_once() -> None:
    job = Job(cpu_s=0.0)
    reported = [2.0, 5.0, 4.0, 5.0, 0.0, 6.5]
    assert [job.use_cpu(seconds) for seconds in reported] == [2.0, 3.0, 0.0, 0.0, 0.0, 1.5]
    assert job.cpu_s == 6.5


def a_checkpoint(iteration: int, name: str = "") -> Checkpoint:
    return Checkpoint(id=name or str(iteration), iteration=iteration)


@pytest.mark.parametrize(
    ("checkpoints", "pairs"),
    [
        ([], []),
        ([a_checkpoint(5)], []),
        ([a_checkpoint(20), a_checkpoint(5), a_checkpoint(9)], [("5", "9"), ("9", "20")]),
        # Two that stand at the same place have nothing between them to repeat.
        ([a_checkpoint(5), a_checkpoint(9), a_checkpoint(9, "other")], [("5", "9")]),
    ],
)
def test_an_interval_lies_between_a_checkpoint_and_the_next_one(
    checkpoints: list[Checkpoint], pairs: list[tuple[str, str]]
) -> None:
    found = certification.intervals_between(checkpoints)
    assert [(start.id, end.id) for start, end in found] == pairs


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, CertificateState.PENDING),
        ({"state": RunState.INTERRUPTED}, CertificateState.PENDING),
        ({"state": RunState.STOPPED}, CertificateState.FAILED),
        ({"state": RunState.COMPLETED, "replayed_sha256": "aa"}, CertificateState.CERTIFIED),
        ({"state": RunState.COMPLETED, "replayed_sha256": "bb"}, CertificateState.REFUTED),
    ],
)
def test_a_certificate_says_what_the_replay_has_shown(
    fields: dict[str, Any], state: CertificateState
) -> None:
    described = {"iteration": 40, "sha256": "aa"}
    run = a_run(
        **{"config": {"start": described, "end": described}, "replayed_sha256": ""} | fields
    )
    assert certificate.state_of(run) is state
    assert bool(certificate.difference(run)) == (state is CertificateState.REFUTED)


@pytest.mark.parametrize(
    ("printed", "stored"),
    [
        (b"plain", "plain"),
        (b"10%\r50%\r100%", "100%"),
        (b"tab\there", "tab\there"),
        (b"\x1b[2J\x07", r"\x1b[2J\x07"),
        (b"nul\x00", r"nul\x00"),
        (b"\xff", "\ufffd"),
        ("\u2028".encode(), r"\u2028"),
        (b"Authorization: Bearer abcdefgh12345678", "Authorization: Bearer [redacted]"),
        (b"key elo_0123456789abcdef", "key [redacted]"),
    ],
)
def test_printed_bytes_become_safe_text(printed: bytes, stored: str) -> None:
    assert log_text.clean(printed) == stored


def test_lines_are_taken_when_they_are_complete_or_will_never_be() -> None:
    data = b"one\ntwo\nthr"
    assert log_text.split(data, is_final=False) == log_text.Lines([b"one", b"two"], 8)
    assert log_text.split(data, is_final=True) == log_text.Lines([b"one", b"two", b"thr"], 11)
    endless = b"x" * (log_text.MAX_LINE_BYTES + 1)
    assert log_text.split(endless, is_final=False).consumed_bytes == len(endless)


def test_configs_differ_by_dotted_keys() -> None:
    left = {"a": 1, "b": {"c": 2, "d": 3}, "gone": True}
    right = {"a": 1, "b": {"c": 2, "d": 4}, "new": [1]}
    assert run_config.differences(left, right) == [
        ("b.d", 3, 4),
        ("gone", True, None),
        ("new", None, [1]),
    ]
