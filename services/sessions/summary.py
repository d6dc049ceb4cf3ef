"""What a session comes to: the score, the moments worth another look, and the whole summary."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from elodrome.sessions.v1 import session_pb2

from services.sessions.drills import recommend
from services.sessions.rules import RULES_VERSION, find_insights, hit_ratio

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.sessions.model import SessionEvent

KILL_POINTS = 100
DEATH_POINTS = -50
ITEM_POINTS = 5
ROUND_POINTS = {"win": 500, "draw": 100, "loss": 0}

MAX_MOMENTS = 200


def scores(events: Iterable[SessionEvent]) -> list[int]:
    """Points after each event, the events being in time order.

    A kill counts only if a hit came since the last kill that counted: a client that reports kills
    alone gains nothing.
    """
    total, hit_pending = 0, False
    running = []
    for event in events:
        if event.type == "shot":
            hit_pending = hit_pending or bool(event.payload["hit"])
        elif event.type == "kill" and hit_pending:
            total += KILL_POINTS
            hit_pending = False
        elif event.type == "death":
            total += DEATH_POINTS
        elif event.type == "item_pickup":
            total += ITEM_POINTS
        elif event.type == "round_ended":
            total += ROUND_POINTS[str(event.payload["outcome"])]
        running.append(total)
    return running


def timeline(events: Sequence[SessionEvent], running: Sequence[int]) -> list[session_pb2.Moment]:
    """Find the moments worth another look, in time order; `running` is what `scores` gave."""
    return [
        session_pb2.Moment(
            t_ms=event.t_ms,
            event_id=event.id,
            type=event.type,
            text=text,
            score=score,
            late=event.late,
        )
        for event, score in zip(events, running, strict=True)
        if (text := _moment_text(event))
    ]


def summarize(
    session_id: str, difficulty: int, events: Sequence[SessionEvent]
) -> session_pb2.SessionSummary:
    """Compute the summary of a session from its events in time order; `create_time` is left out."""
    insights = find_insights(events)
    running = scores(events)
    moments = timeline(events, running)
    return session_pb2.SessionSummary(
        session_id=session_id,
        score=running[-1] if running else 0,
        play_time_s=events[-1].t_ms / 1_000 if events else 0.0,
        event_count=len(events),
        counts=Counter(event.type for event in events),
        late_count=sum(1 for event in events if event.late),
        accuracy=hit_ratio(events),
        insights=insights,
        timeline=moments[:MAX_MOMENTS],
        omitted_moment_count=max(0, len(moments) - MAX_MOMENTS),
        drills=recommend(insights, difficulty),
        rules_version=RULES_VERSION,
    )


def _moment_text(event: SessionEvent) -> str:
    """Say what happened, or nothing where it is not worth another look."""
    payload = event.payload
    match event.type:
        case "round_started":
            return "Round started"
        case "round_ended":
            return f"Round ended: {payload['outcome']}"
        case "kill":
            return f"Kill: {payload['victim']}" if "victim" in payload else "Kill"
        case "death":
            return f"Death: {payload['cause']}" if "cause" in payload else "Death"
        case "item_pickup":
            return f"Picked up {payload['item']}"
        case _:
            return ""
