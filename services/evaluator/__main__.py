"""Starts the evaluator: `python -m services.evaluator`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kit import server
from services.evaluator import gauges
from services.evaluator.bell import Bell
from services.evaluator.consumers import consumers
from services.evaluator.peers import Registry
from services.evaluator.reconciler import Reconciler
from services.evaluator.servicers.agents import AgentServicer
from services.evaluator.servicers.evaluations import EvaluationServicer
from services.evaluator.servicers.gates import GateServicer
from services.evaluator.servicers.matches import MatchServicer
from services.evaluator.servicers.referee import RefereeServicer
from services.evaluator.servicers.suites import SuiteServicer
from services.evaluator.settings import EvaluatorSettings

if TYPE_CHECKING:
    from kit.server import Context


def build(context: Context) -> server.Parts:
    """Wire the evaluator together."""
    bell = Bell()
    registry = Registry(context)
    reconciler = Reconciler(context, bell)
    return server.Parts(
        servicers=[
            SuiteServicer(context.sessions),
            EvaluationServicer(context.sessions, registry, reconciler, bell),
            RefereeServicer(context.sessions, bell),
            GateServicer(context.sessions, registry),
            AgentServicer(context.sessions, reconciler, bell),
            MatchServicer(context.sessions, reconciler, bell),
        ],
        loops={gauges.RECONCILER: reconciler.run},
        measures=[gauges.measure],
        consumers=consumers(bell),
    )


if __name__ == "__main__":
    server.main(EvaluatorSettings, build)
