"""When a training ends before its last iteration: diverged, good enough, or no longer better."""

from __future__ import annotations

import enum
import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.reporter import Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer.checkpoint import Manifest, Tensors
    from trainer.config import Config
    from trainer.reporter import Reporter

EVALUATION = "eval_return"
"""The series that the rules judge by: mean return of the greedy episodes at a checkpoint."""


class Reason(enum.Enum):
    """Why a training ends early."""

    DIVERGED = "DIVERGED"
    TARGET_REACHED = "TARGET_REACHED"
    PLATEAU = "PLATEAU"


@dataclass(frozen=True)
class Stop:
    """A training ends here; the sentence is for a person."""

    reason: Reason
    sentence: str


class DivergedError(ArithmeticError):
    """A loss or a weight is no finite number any more; the message names it and the step."""


@dataclass(frozen=True)
class Evaluations:
    """What the rules remember of the evaluations so far; it travels in every checkpoint."""

    step: int = 0
    last: float | None = None
    best: float | None = None
    since_best: int = 0

    def with_next(self, step: int, value: float, delta: float) -> Evaluations:
        """Count one more; the best moves only where the value is greater, by `delta` at least."""
        is_better = self.best is None or (value > self.best and value - self.best >= delta)
        if is_better:
            return Evaluations(step, value, value, 0)
        return Evaluations(step, value, self.best, self.since_best + 1)


class StopRules:
    """The rules of one training; they see every value that is logged, in order."""

    def __init__(
        self,
        *,
        target_return: float | None = None,
        plateau_evaluations: int = 0,
        plateau_delta: float = 0.0,
    ) -> None:
        """Begin with no evaluation seen; the fields are those of `trainer.config.Config`."""
        self._target_return = target_return
        self._plateau_evaluations = plateau_evaluations
        self._plateau_delta = plateau_delta
        self._seen = Evaluations()

    @classmethod
    def of(cls, config: Config) -> StopRules:
        """Take the rules that a config asks for."""
        return cls(
            target_return=config.target_return,
            plateau_evaluations=config.plateau_evaluations,
            plateau_delta=config.plateau_delta,
        )

    def observe(self, metrics: Mapping[str, float], step: int) -> Stop | None:
        """Take one value of each series at a step; answers whether the training ends here."""
        for name, value in metrics.items():
            if _must_be_finite(name) and not math.isfinite(value):
                return Stop(Reason.DIVERGED, f"{name} is {value} at step {step}")
        if EVALUATION in metrics:
            self._seen = self._seen.with_next(step, metrics[EVALUATION], self._plateau_delta)
        return self.stop

    def inspect(self, tensors: Tensors, step: int) -> Stop | None:
        """Look at the weights of the network that acts, before they are kept."""
        for name, tensor in tensors.items():
            is_weight = name.startswith("network.") and tensor.dtype.kind == "f"
            if is_weight and not np.isfinite(tensor).all():
                return Stop(Reason.DIVERGED, f"a weight of {name} is not finite at step {step}")
        return None

    @property
    def stop(self) -> Stop | None:
        """Whether the training ends, as far as the evaluations go; so too after `restore`."""
        seen = self._seen
        if seen.last is None:
            return None
        if self._target_return is not None and seen.last >= self._target_return:
            reached = f"{EVALUATION} {seen.last:g} has reached the target {self._target_return:g}"
            return Stop(Reason.TARGET_REACHED, f"{reached} at step {seen.step}")
        if 0 < self._plateau_evaluations <= seen.since_best:
            return Stop(Reason.PLATEAU, self._no_rise())
        return None

    def _no_rise(self) -> str:
        seen, delta = self._seen, self._plateau_delta
        rise = f"risen by {delta:g} above" if delta else "risen above"
        return (
            f"{EVALUATION} has not {rise} {seen.best:g} in {seen.since_best} evaluations "
            f"up to step {seen.step}"
        )

    @property
    def state(self) -> dict[str, Any]:
        """What a resumed training needs to go on counting, ready for JSON."""
        return asdict(self._seen)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Stand where the training stood that had this state; an empty one is the beginning."""
        self._seen = Evaluations(**state)


class Supervised:
    """A reporter that hands everything on to another one and asks to stop when a rule says so.

    Raises DivergedError out of `log` and `save`, so that nothing of a diverged network is kept.
    """

    def __init__(self, reporter: Reporter, rules: StopRules) -> None:
        self._reporter = reporter
        self._rules = rules

    def request(self) -> Request:
        """Tell what is asked for; a rule asks to stop where nobody asks for anything."""
        request = self._reporter.request()
        if request is Request.GO_ON and self._rules.stop is not None:
            return Request.STOP
        return request

    def progress(self, *, iteration: int, step: int, phase: str) -> None:
        """Hand on."""
        self._reporter.progress(iteration=iteration, step=step, phase=phase)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Hand on, then let the rules see the values."""
        self._reporter.log(step, values)
        _raise_if_diverged(self._rules.observe(values, step))

    def save(self, manifest: Manifest, tensors: Tensors, metrics: Mapping[str, float]) -> None:
        """Hand on with what the rules remember."""
        _raise_if_diverged(self._rules.inspect(tensors, manifest.steps))
        self._reporter.save(replace(manifest, stopping=self._rules.state), tensors, metrics)


def _must_be_finite(name: str) -> bool:
    return name == EVALUATION or "loss" in name.split("_")


def _raise_if_diverged(stop: Stop | None) -> None:
    if stop is not None and stop.reason is Reason.DIVERGED:
        raise DivergedError(stop.sentence)
