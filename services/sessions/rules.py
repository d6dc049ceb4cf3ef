"""The rules that find insights in a session: each looks at one thing and says what it rests on.

A rule takes the events in time order and answers an insight, or None where there is too little to
judge by or nothing to say. Its name is the name of the function.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import hypot
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from elodrome.sessions.v1 import session_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from services.sessions.model import SessionEvent

# Raise it whenever a rule, a threshold or the score changes, so that summaries can be told apart.
RULES_VERSION = 1

MAX_EVIDENCE = 10

LOW_ACCURACY_RATIO = 0.4
LOW_ACCURACY_MIN_SHOTS = 5
SHARP_AIM_RATIO = 0.7
SHARP_AIM_MIN_SHOTS = 10
SLOW_REACTION_MS = 700
QUICK_REACTION_MS = 300
REACTION_MIN_SAMPLES = 3
STILL_RADIUS = 64
STILL_S = 10
LOST_TRADE_RATIO = 0.6
LOST_TRADE_MIN_DAMAGE = 100
SHORT_LIFE_MS = 10_000
SHORT_LIVES = 2
SAME_CAUSE_DEATHS = 3
LOW_HEALTH = 25
LOW_HEALTH_SHOTS = 5


class Measure(NamedTuple):
    """What a rule measured, the bound it crossed, their unit, and the value of full severity."""

    value: float
    threshold: float
    unit: str
    extreme: float


def low_accuracy(events: Sequence[SessionEvent]) -> session_pb2.Insight | None:
    """Fewer than 40 % of at least 5 shots hit."""
    shots = _of(events, "shot")
    ratio = hit_ratio(events)
    if ratio is None or len(shots) < LOW_ACCURACY_MIN_SHOTS or ratio >= LOW_ACCURACY_RATIO:
        return None
    misses = [shot for shot in shots if not shot.payload["hit"]]
    return _insight(
        low_accuracy.__name__,
        f"{len(shots) - len(misses)} of {len(shots)} shots hit: aim before you fire.",
        Measure(ratio, LOW_ACCURACY_RATIO, "ratio", extreme=0),
        evidence=misses,
        sample_count=len(shots),
    )


def sharp_aim(events: Sequence[SessionEvent]) -> session_pb2.Insight | None:
    """At least 70 % of at least 10 shots hit."""
    shots = _of(events, "shot")
    ratio = hit_ratio(events)
    if ratio is None or len(shots) < SHARP_AIM_MIN_SHOTS or ratio < SHARP_AIM_RATIO:
        return None
    hits = [shot for shot in shots if shot.payload["hit"]]
    return _insight(
        sharp_aim.__name__,
        f"{len(hits)} of {len(shots)} shots hit: your aim is sharp.",
        Measure(ratio, SHARP_AIM_RATIO, "ratio", extreme=1),
        evidence=hits,
        sample_count=len(shots),
        kind=session_pb2.INSIGHT_KIND_STRENGTH,
    )


def slow_reaction(events: Sequence[SessionEvent]) -> session_pb2.Insight | None:
    """From seeing the opponent to the first shot takes more than 700 ms in the median."""
    shots = _first_shots(events)
    if len(shots) < REACTION_MIN_SAMPLES:
        return None
    typical_ms = median(delay_ms for delay_ms, _ in shots)
    if typical_ms <= SLOW_REACTION_MS:
        return None
    slow = [shot for delay_ms, shot in shots if delay_ms > SLOW_REACTION_MS]
    return _insight(
        slow_reaction.__name__,
        f"You take {typical_ms:.0f} ms from seeing the opponent to the first shot.",
        Measure(typical_ms, SLOW_REACTION_MS, "ms", extreme=3 * SLOW_REACTION_MS),
        evidence=slow,
        sample_count=len(shots),
    )


def quick_reaction(events: Sequence[SessionEvent]) -> session_pb2.Insight | None:
    """From seeing the opponent to the first shot takes at most 300 ms in the median."""
    shots = _first_shots(events)
    if len(shots) < REACTION_MIN_SAMPLES:
        return None
    typical_ms = median(delay_ms for delay_ms, _ in shots)
    if typical_ms > QUICK_REACTION_MS:
        return None
    return _insight(
        quick_reaction.__name__,
        f"You fire {typical_ms:.0f} ms after seeing the opponent: hard to beat.",
        Measure(typical_ms, QUICK_REACTION_MS, "ms", extreme=0),
        evidence=[shot for _, shot in shots],
        sample_count=len(shots),
        kind=session_pb2.INSIGHT_KIND_STRENGTH,
    )


def standing_still(events: Sequence[SessionEvent]) -> session_pb2.Insight | None:
    """For more than 10 s the player stayed within 64 map units."""
    positions = _of(events, "position")
    spell = _longest_spell(positions)
    spell_s = (spell[-1].t_ms - spell[0].t_ms) / 1_000 if spell else 0.0
    if spell_s <= STILL_S:
        return None
    return _insight(
        standing_still.__name__,
        f"You stayed on one spot for {spell_s:.0f} s: a still target is an easy one.",
        Measure(spell_s, STILL_S, "s", extreme=6 * STILL_S),
        evidence=[spell[0], spell[-1]],
        sample_count=len(positions),
    )


def losing_trades(events: Sequence[SessionEvent]) -> session_pb2.Insight | None:
    """More than 60 % of at least 100 points of damage was taken instead of dealt."""
    blows = _of(events, "damage_taken")
    taken = sum(_number(blow, "amount") for blow in blows)
    dealt = sum(_number(shot, "damage") for shot in _of(events, "shot") if shot.payload["hit"])
    if taken + dealt < LOST_TRADE_MIN_DAMAGE or taken <= LOST_TRADE_RATIO * (taken + dealt):
        return None
    return _insight(
        losing_trades.__name__,
        f"You took {taken:.0f} damage and dealt {dealt:.0f}: fight from cover.",
        Measure(taken / (taken + dealt), LOST_TRADE_RATIO, "ratio", extreme=1),
        evidence=sorted(blows, key=lambda blow: -_number(blow, "amount")),
        sample_count=len(blows),
    )


def short_lives(events: Sequence[SessionEvent]) -> session_pb2.Insight | None:
    """At least 2 lives ended within 10 s of their beginning."""
    begun_ms, deaths, short = 0, 0, []
    for event in events:
        if event.type == "death":
            deaths += 1
            if event.t_ms - begun_ms < SHORT_LIFE_MS:
                short.append(event)
        if event.type in {"death", "round_started"}:
            begun_ms = event.t_ms
    if len(short) < SHORT_LIVES:
        return None
    return _insight(
        short_lives.__name__,
        f"{len(short)} of {deaths} lives ended within {SHORT_LIFE_MS // 1_000} s.",
        Measure(len(short), SHORT_LIVES, "count", extreme=5 * SHORT_LIVES),
        evidence=short,
        sample_count=deaths,
    )


def repeated_cause_of_death(events: Sequence[SessionEvent]) -> session_pb2.Insight | None:
    """At least 3 deaths had the same cause."""
    deaths = [death for death in _of(events, "death") if "cause" in death.payload]
    causes = Counter(str(death.payload["cause"]) for death in deaths).most_common(1)
    if not causes or causes[0][1] < SAME_CAUSE_DEATHS:
        return None
    cause, count = causes[0]
    return _insight(
        repeated_cause_of_death.__name__,
        f"{count} of {len(deaths)} deaths had the same cause: {cause}.",
        Measure(count, SAME_CAUSE_DEATHS, "count", extreme=5 * SAME_CAUSE_DEATHS),
        evidence=[death for death in deaths if death.payload["cause"] == cause],
        sample_count=len(deaths),
    )


def fighting_at_low_health(events: Sequence[SessionEvent]) -> session_pb2.Insight | None:
    """At least 5 shots were fired at 25 health or less."""
    low, desperate = False, []
    for event in events:
        if event.type == "damage_taken" and "health" in event.payload:
            low = _number(event, "health") <= LOW_HEALTH
        elif event.type in {"item_pickup", "death", "round_started"}:
            low = False
        elif event.type == "shot" and low:
            desperate.append(event)
    if len(desperate) < LOW_HEALTH_SHOTS:
        return None
    return _insight(
        fighting_at_low_health.__name__,
        f"You fired {len(desperate)} shots with {LOW_HEALTH} health or less: retreat and heal.",
        Measure(len(desperate), LOW_HEALTH_SHOTS, "count", extreme=5 * LOW_HEALTH_SHOTS),
        evidence=desperate,
        sample_count=len(_of(events, "shot")),
    )


RULES: tuple[Callable[[Sequence[SessionEvent]], session_pb2.Insight | None], ...] = (
    low_accuracy,
    slow_reaction,
    losing_trades,
    short_lives,
    repeated_cause_of_death,
    fighting_at_low_health,
    standing_still,
    sharp_aim,
    quick_reaction,
)


def find_insights(events: Sequence[SessionEvent]) -> list[session_pb2.Insight]:
    """Apply every rule; weaknesses come first, the most severe first."""
    found = [insight for rule in RULES if (insight := rule(events))]
    return sorted(
        found, key=lambda one: (one.kind != session_pb2.INSIGHT_KIND_WEAKNESS, -one.severity)
    )


def hit_ratio(events: Sequence[SessionEvent]) -> float | None:
    """Share of the shots that hit, in [0, 1]; None without shots."""
    shots = _of(events, "shot")
    return sum(1 for shot in shots if shot.payload["hit"]) / len(shots) if shots else None


def _of(events: Iterable[SessionEvent], type_name: str) -> list[SessionEvent]:
    return [event for event in events if event.type == type_name]


def _number(event: SessionEvent, name: str) -> float:
    value = event.payload.get(name, 0)
    assert isinstance(value, int | float), f"{name} was checked when the event was stored"
    return float(value)


def _first_shots(events: Iterable[SessionEvent]) -> list[tuple[int, SessionEvent]]:
    """Pair each sight of the opponent with the shot that came next: (delay in ms, shot)."""
    relevant = [event for event in events if event.type in {"opponent_seen", "shot", "death"}]
    return [
        (after.t_ms - before.t_ms, after)
        for before, after in pairwise(relevant)
        if before.type == "opponent_seen" and after.type == "shot"
    ]


def _longest_spell(positions: Sequence[SessionEvent]) -> list[SessionEvent]:
    """Find the longest stretch of positions that stays near the stretch's first one."""
    begin, best = 0, (0, -1)
    longest_ms = -1
    for here, position in enumerate(positions):
        if _distance(positions[begin], position) > STILL_RADIUS:
            begin = here
        if position.t_ms - positions[begin].t_ms > longest_ms:
            longest_ms = position.t_ms - positions[begin].t_ms
            best = (begin, here)
    return list(positions[best[0] : best[1] + 1])


def _distance(one: SessionEvent, other: SessionEvent) -> float:
    return hypot(_number(one, "x") - _number(other, "x"), _number(one, "y") - _number(other, "y"))


def _insight(
    rule: str,
    text: str,
    measure: Measure,
    *,
    evidence: Sequence[SessionEvent],
    sample_count: int,
    kind: session_pb2.InsightKind = session_pb2.INSIGHT_KIND_WEAKNESS,
) -> session_pb2.Insight:
    beyond = abs(measure.value - measure.threshold) / abs(measure.extreme - measure.threshold)
    return session_pb2.Insight(
        rule=rule,
        kind=kind,
        text=text,
        value=measure.value,
        threshold=measure.threshold,
        unit=measure.unit,
        severity=min(1.0, beyond),
        evidence_event_ids=[event.id for event in evidence[:MAX_EVIDENCE]],
        sample_count=sample_count,
    )
