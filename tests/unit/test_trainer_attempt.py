"""How a worker ends: what it tells the platform, and with which code it exits."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NoReturn

import pytest
from elodrome.evaluator.v1 import referee_service_pb2, suite_pb2
from elodrome.executor.v1 import lease_service_pb2, run_pb2

from kit import errors
from referee.__main__ import BAD_INPUT, judge
from tests.unit.worker_platform import Platform
from tests.waiting import eventually_sync
from trainer import provenance
from trainer.attempt import Ending, run
from trainer.checkpoint import CheckpointError
from trainer.config import ConfigError
from trainer.platform import FencedError, UnreachableError
from trainer.reporter import Request
from trainer.stopping import DivergedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from trainer.attempt import Attempt

STALE = errors.failed_precondition("not yours any more", reason="STALE_EPOCH")
GONE = errors.not_found("run", "7")


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Platform]:
    """A platform that this process is told to work for."""
    before = signal.getsignal(signal.SIGTERM)
    served = Platform()
    with served.serving() as address:
        for peer in ("EXECUTOR", "REGISTRY", "EVALUATOR"):
            monkeypatch.setenv(f"ELODROME_{peer}_ADDRESS", address)
        monkeypatch.setenv("ELODROME_JOB_TOKEN", "bootstrap")
        monkeypatch.setenv("ELODROME_WORK_DIR", str(tmp_path))
        yield served
    signal.signal(signal.SIGTERM, before)


def failing(error: Exception) -> Callable[[Attempt], NoReturn]:
    def work(_attempt: Attempt) -> NoReturn:
        raise error

    return work


def asked(attempt: Attempt) -> Request:
    """Work until something is asked for."""
    eventually_sync(lambda: attempt.request() is not Request.GO_ON)
    return attempt.request()


def ended(attempt: Attempt) -> Request:
    """Be told to end, as a shutdown of the machine would."""
    os.kill(os.getpid(), signal.SIGTERM)
    return asked(attempt)


def work_for(work: Callable[[Attempt], Request]) -> int:
    return run(work, bad_input=(CheckpointError,))


def test_work_that_is_done_completes_the_job(platform: Platform) -> None:
    assert work_for(lambda _: Request.GO_ON) == 0
    assert platform.reported == [(run_pb2.JOB_OUTCOME_COMPLETED, "everything is done", 0)]


def test_work_that_was_asked_to_end_says_what_it_followed(platform: Platform) -> None:
    assert work_for(ended) == 0
    platform.action = lease_service_pb2.LEASE_ACTION_PAUSE
    assert work_for(asked) == 0
    assert platform.reported == [
        (run_pb2.JOB_OUTCOME_REQUESTED, "asked to stop", 0),
        (run_pb2.JOB_OUTCOME_REQUESTED, "asked to pause", 0),
    ]


@pytest.mark.parametrize(
    ("error", "outcome", "reason", "code"),
    [
        (ConfigError("gamma", "is 2"), run_pb2.JOB_OUTCOME_USER_ERROR, "gamma: is 2", 64),
        (CheckpointError("not one"), run_pb2.JOB_OUTCOME_USER_ERROR, "not one", 65),
        (DivergedError("loss is nan"), run_pb2.JOB_OUTCOME_DIVERGED, "loss is nan", 66),
        (MemoryError("no room"), run_pb2.JOB_OUTCOME_OUT_OF_MEMORY, "no room", 70),
        (KeyError("x"), run_pb2.JOB_OUTCOME_CRASH, "KeyError('x')", 70),
    ],
)
def test_work_that_fails_says_whose_fault_it_is(
    platform: Platform, error: Exception, outcome: int, reason: str, code: int
) -> None:
    assert work_for(failing(error)) == code
    assert platform.reported == [(outcome, reason, code)]


def test_work_that_says_itself_how_it_ended_is_taken_at_its_word(platform: Platform) -> None:
    ending = Ending(run_pb2.JOB_OUTCOME_COMPLETED, "it is the same", replayed_sha256="ab" * 32)
    assert work_for(lambda _: ending) == 0
    assert platform.reported == [(run_pb2.JOB_OUTCOME_COMPLETED, "it is the same", 0)]
    assert platform.replayed == ["ab" * 32]


def test_every_heartbeat_and_the_end_tell_the_cpu_seconds_so_far(platform: Platform) -> None:
    def busy(_attempt: Attempt) -> Request:
        eventually_sync(lambda: len(platform.cpu_s) > 3)
        return Request.GO_ON

    assert work_for(busy) == 0
    assert platform.cpu_s[0] > 0
    assert platform.cpu_s == sorted(platform.cpu_s)


def test_a_worker_tells_what_it_is_made_of_before_it_ends(platform: Platform) -> None:
    def short(attempt: Attempt) -> Request:
        with provenance.told(attempt):
            return Request.GO_ON

    assert work_for(short) == 0
    (said,) = platform.provenances
    assert "torch" in said.packages


def test_work_goes_on_where_nobody_wants_to_know_what_it_is_made_of(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    def told(attempt: Attempt) -> Request:
        with provenance.told(attempt):
            return Request.GO_ON

    platform.refusals["ReportProvenance"] = errors.invalid_argument("diff", "is too long")
    assert work_for(told) == 0
    assert platform.reported == [(run_pb2.JOB_OUTCOME_COMPLETED, "everything is done", 0)]
    assert "INVALID_FIELD" in caplog.text


@pytest.mark.parametrize(("error", "code"), [(FencedError("x"), 79), (UnreachableError("x"), 75)])
def test_who_cannot_reach_the_platform_any_more_reports_nothing(
    platform: Platform, error: Exception, code: int
) -> None:
    assert work_for(failing(error)) == code
    assert platform.reported == []


@pytest.mark.parametrize("method", ["AcquireLease", "Heartbeat", "ReportOutcome"])
def test_a_stale_lease_is_fenced_wherever_it_is_noticed(platform: Platform, method: str) -> None:
    platform.refusals[method] = STALE
    work = asked if method == "Heartbeat" else lambda _: Request.GO_ON
    assert work_for(work) == 79
    assert platform.reported == []


def test_a_refusal_of_the_work_is_reported_as_it_was_put(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    platform.refusals["ClaimEvaluation"] = errors.not_found("evaluation", "7")
    assert run(judge, bad_input=BAD_INPUT) == 70
    ((outcome, reason, code),) = platform.reported
    assert (outcome, code) == (run_pb2.JOB_OUTCOME_CRASH, 70)
    assert reason.startswith("claiming the evaluation: NOT_FOUND EVALUATION_NOT_FOUND")
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("method", ["AcquireLease", "ReportOutcome"])
def test_a_refusal_of_the_lease_is_told_in_one_line(
    platform: Platform, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    platform.refusals[method] = GONE
    assert work_for(lambda _: Request.GO_ON) == 70
    told = caplog.records[-1]
    assert told.getMessage().startswith("refused: ")
    assert "NOT_FOUND RUN_NOT_FOUND" in told.getMessage()
    assert told.exc_info is None


def test_a_variable_that_is_missing_is_named(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ELODROME_EVALUATOR_ADDRESS")
    assert run(judge, bad_input=BAD_INPUT) == 64
    assert platform.reported == [
        (run_pb2.JOB_OUTCOME_USER_ERROR, "ELODROME_EVALUATOR_ADDRESS: is not set", 64)
    ]
    monkeypatch.delenv("ELODROME_JOB_TOKEN")
    assert work_for(lambda _: Request.GO_ON) == 64
    assert "ELODROME_JOB_TOKEN: is not set" in caplog.text


def test_an_evaluation_that_cannot_be_played_ends_for_both(platform: Platform) -> None:
    platform.task = referee_service_pb2.ClaimEvaluationResponse(
        checkpoint_id="7", scenarios=[suite_pb2.SuiteScenario(scenario="basic")]
    )
    assert run(judge, bad_input=BAD_INPUT) == 65
    ((outcome, reason, code),) = platform.reported
    assert (outcome, code) == (run_pb2.JOB_OUTCOME_USER_ERROR, 65)
    assert reason.startswith("downloading a checkpoint: UNIMPLEMENTED")
    assert platform.finished == [reason]

    ended = errors.failed_precondition("it was cancelled", reason="EVALUATION_ENDED")
    platform.refusals["FinishEvaluation"] = ended
    assert run(judge, bad_input=BAD_INPUT) == 65
    assert platform.reported[1] == (run_pb2.JOB_OUTCOME_USER_ERROR, "it was cancelled", 65)


def test_an_evaluation_that_is_played_already_is_finished(platform: Platform) -> None:
    platform.task = referee_service_pb2.ClaimEvaluationResponse(
        agent="random",
        scenarios=[suite_pb2.SuiteScenario(scenario="basic", seeds=[2**30], frame_skip=4)],
        recorded=[referee_service_pb2.EpisodeKey(scenario="basic", seed=2**30)],
    )
    assert run(judge, bad_input=BAD_INPUT) == 0
    assert platform.finished == [""]
    assert platform.reported == [(run_pb2.JOB_OUTCOME_COMPLETED, "everything is done", 0)]
