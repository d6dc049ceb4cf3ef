"""Starts the sessions service."""

from __future__ import annotations

from functools import partial

from elodrome.registry.v1 import events_pb2

from kit.bus import Consumer
from kit.gauges import Pace
from kit.server import Context, Parts, main
from services.sessions import gauges
from services.sessions.opponents import remember_promotion
from services.sessions.reaper import reap_forever
from services.sessions.servicer import SessionService
from services.sessions.settings import SessionsSettings


def build(context: Context) -> Parts:
    """Wire the service together."""
    settings = context.settings
    assert isinstance(settings, SessionsSettings)
    pace = Pace(gauges.REAPER, settings.session_reap_interval_s)
    reap = partial(reap_forever, context.sessions, pace)
    return Parts(
        servicers=[SessionService(context, settings)],
        loops={gauges.REAPER: reap},
        measures=[gauges.measure],
        consumers=[
            Consumer(
                durable="sessions",
                stream="REGISTRY",
                handlers={events_pb2.ModelPromoted: remember_promotion},
            )
        ],
    )


if __name__ == "__main__":
    main(SessionsSettings, build)
