"""What the evaluator is told from outside."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from kit.settings import ServiceSettings


class EvaluatorSettings(ServiceSettings):
    """Settings of the evaluator, each an `ELODROME_…` variable."""

    service: ClassVar[str] = "evaluator"

    evaluation_reconcile_s: float = Field(default=5.0, gt=0, le=300)
    """Seconds between two looks at evaluations that should have moved."""
