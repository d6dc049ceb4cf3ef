"""The rules that end a training early."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.unit.test_trainer_checkpoint import MANIFEST
from trainer.config import ConfigError, parse
from trainer.reporter import Request
from trainer.stopping import DivergedError, Reason, StopRules, Supervised

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer.checkpoint import Manifest, Tensors

NAN, INFINITE = float("nan"), float("inf")


def rules(**fields: Any) -> StopRules:
    return StopRules.of(parse(fields))


def evaluations_until_stop(judged: StopRules, returns: list[float]) -> int | None:
    """Count the evaluations until a rule ends the training; None where none does."""
    for place, value in enumerate(returns, start=1):
        if judged.observe({"eval_return": value, "eval_return_std": 1.0}, 100 * place):
            return place
    return None


@pytest.mark.parametrize("value", [NAN, INFINITE, -INFINITE])
@pytest.mark.parametrize("name", ["loss", "dqn_loss", "loss_pi", "eval_return"])
def test_a_loss_that_is_no_number_is_named_with_its_step(name: str, value: float) -> None:
    stop = rules().observe({"return": 3.0, name: value}, 640)
    assert stop is not None
    assert (stop.reason, stop.sentence) == (Reason.DIVERGED, f"{name} is {value} at step 640")


def test_other_series_may_be_infinite() -> None:
    assert rules().observe({"kills_per_death": INFINITE, "losses": NAN, "loss": 0.1}, 1) is None


def test_without_rules_a_training_runs_to_its_end() -> None:
    assert evaluations_until_stop(rules(), [5.0, *[1.0] * 100]) is None


@pytest.mark.parametrize(
    ("returns", "count"), [([1.0, 74.9, 75.0], 3), ([75.1], 1), ([1.0, -80.0, 74.99], None)]
)
def test_reaching_the_target_ends_the_training(returns: list[float], count: int | None) -> None:
    assert evaluations_until_stop(rules(target_return=75), returns) == count


def test_a_target_below_zero_is_one() -> None:
    judged = rules(target_return=-10)
    assert judged.observe({"eval_return": -10.5}, 100) is None
    stop = judged.observe({"eval_return": -9.5}, 200)
    assert stop is not None
    assert stop.reason is Reason.TARGET_REACHED
    assert stop.sentence == "eval_return -9.5 has reached the target -10 at step 200"


@pytest.mark.parametrize(
    ("delta", "returns", "count"),
    [
        (0, [5, 4, 3, 2], 4),
        # As good as before is no rise.
        (0, [5, 5, 5, 5], 4),
        (0, [5, 4, 3, 5.001, 4, 3, 5], 7),
        # The rise counts from the best that counted, so small ones add up.
        (1, [5, 5.5, 5.9, 6.0, 6.5, 6.9, 6.99], 7),
        (1, [5, 5.4, 5.8, 6.2, 6.6, 7.0, 7.4], None),
        (1, [1, 2, 3, 4, 5, 6], None),
    ],
)
def test_a_plateau_ends_the_training(delta: float, returns: list[float], count: int | None) -> None:
    judged = rules(plateau_evaluations=3, plateau_delta=delta)
    assert evaluations_until_stop(judged, returns) == count


def test_a_plateau_is_told_with_what_was_best() -> None:
    judged = rules(plateau_evaluations=2, plateau_delta=0.5)
    evaluations_until_stop(judged, [71.25, 71.5, 70])
    assert judged.stop is not None
    assert judged.stop.reason is Reason.PLATEAU
    assert judged.stop.sentence == (
        "eval_return has not risen by 0.5 above 71.25 in 2 evaluations up to step 300"
    )


@pytest.mark.parametrize("cut", range(7))
def test_resumed_rules_decide_like_undisturbed_ones(cut: int) -> None:
    fields = {"plateau_evaluations": 3, "plateau_delta": 1, "target_return": 90}
    returns = [5, 5.5, 7, 7.9, 6, 7.99]
    before = rules(**fields)
    evaluations_until_stop(before, returns[:cut])
    resumed = rules(**fields)
    resumed.restore(json.loads(json.dumps(before.state)))
    assert resumed.stop == before.stop
    whole = rules(**fields)
    evaluations_until_stop(whole, returns)
    for place, value in enumerate(returns[cut:], start=cut + 1):
        resumed.observe({"eval_return": value}, 100 * place)
    assert whole.stop is not None
    assert resumed.stop == whole.stop


def test_a_checkpoint_from_before_the_rules_begins_them_anew() -> None:
    judged = rules(plateau_evaluations=1)
    judged.restore({})
    assert judged.stop is None
    assert judged.observe({"eval_return": 1.0}, 100) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target_return", NAN),
        ("target_return", "75"),
        ("plateau_evaluations", -1),
        ("plateau_evaluations", None),
        ("plateau_delta", -0.1),
    ],
)
def test_a_wrong_rule_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse({field: value})
    assert refusal.value.field == field


@dataclass
class Kept:
    """A reporter that keeps what it is told."""

    asked: Request = Request.GO_ON
    saved: list[Manifest] = field(default_factory=list)
    logged: list[Mapping[str, float]] = field(default_factory=list)

    def request(self) -> Request:
        return self.asked

    def progress(self, *, iteration: int, step: int, phase: str) -> None:
        pass

    def log(self, step: int, values: Mapping[str, float]) -> None:  # noqa: ARG002
        self.logged.append(values)

    def save(self, manifest: Manifest, tensors: Tensors, metrics: Mapping[str, float]) -> None:  # noqa: ARG002
        self.saved.append(manifest)


def test_a_rule_asks_to_stop_and_what_others_ask_for_comes_first() -> None:
    kept = Kept()
    supervised = Supervised(kept, rules(target_return=75))
    supervised.log(100, {"eval_return": 70.0})
    assert supervised.request() is Request.GO_ON
    supervised.log(200, {"eval_return": 76.0})
    assert supervised.request() is Request.STOP
    for asked in (Request.PAUSE, Request.CANCEL):
        kept.asked = asked
        assert supervised.request() is asked


def test_what_diverged_is_logged_and_never_kept() -> None:
    kept = Kept()
    supervised = Supervised(kept, rules())
    with pytest.raises(DivergedError, match="loss is nan at step 640"):
        supervised.log(640, {"loss": NAN})
    assert len(kept.logged) == 1

    weights = np.zeros(5, dtype=np.float32)
    fine = {"network.w": weights, "network.count": np.array([1]), "optimizer.m": weights * NAN}
    supervised.save(replace(MANIFEST, steps=8), fine, {})
    with pytest.raises(DivergedError, match=r"a weight of network\.w is not finite at step 8"):
        supervised.save(replace(MANIFEST, steps=8), {"network.w": weights * NAN}, {})
    assert len(kept.saved) == 1


def test_a_checkpoint_carries_what_the_rules_remember() -> None:
    kept = Kept()
    supervised = Supervised(kept, rules(plateau_evaluations=1))
    supervised.log(100, {"eval_return": 5.0})
    supervised.log(200, {"eval_return": 4.0})
    supervised.save(MANIFEST, {}, {})
    again = rules(plateau_evaluations=1)
    again.restore(kept.saved[0].stopping)
    assert again.stop is not None
    assert again.stop.reason is Reason.PLATEAU
