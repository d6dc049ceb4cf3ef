"""Each rule finds what it is named after, at its threshold, and nothing else."""

from __future__ import annotations

import pytest
from elodrome.sessions.v1 import session_pb2

from services.sessions import rules
from services.sessions.drills import DRILL_NAMES, EXERCISES, recommend
from services.sessions.event_types import EVENT_TYPES
from services.sessions.model import SessionEvent
from services.sessions.summary import MAX_MOMENTS, scores, summarize

Rule = "Callable[[Sequence[SessionEvent]], session_pb2.Insight | None]"


def play(*happenings: tuple[int, str, dict[str, object]]) -> list[SessionEvent]:
    """Events in time order out of (t_ms, type, payload); each payload is one its type takes."""
    for _, type_name, payload in happenings:
        EVENT_TYPES[type_name].check(payload)
    return [
        SessionEvent(id=f"event-{index}", t_ms=t_ms, type=type_name, payload=payload, late=False)
        for index, (t_ms, type_name, payload) in enumerate(happenings)
    ]


def shots(hits: int, misses: int) -> list[SessionEvent]:
    aimed = [True] * hits + [False] * misses
    return play(*((index * 100, "shot", {"hit": hit}) for index, hit in enumerate(aimed)))


def duels(*delays_ms: int) -> list[SessionEvent]:
    """The opponent is seen, and shot at after each delay."""
    happenings: list[tuple[int, str, dict[str, object]]] = []
    for index, delay_ms in enumerate(delays_ms):
        seen_ms = index * 10_000
        happenings += [
            (seen_ms, "opponent_seen", {}),
            (seen_ms + delay_ms, "shot", {"hit": True}),
            # A second shot says nothing about the reaction.
            (seen_ms + delay_ms + 5_000, "shot", {"hit": True}),
        ]
    return play(*happenings)


def walk(*steps: tuple[int, float, float]) -> list[SessionEvent]:
    return play(*((t_ms, "position", {"x": x, "y": y}) for t_ms, x, y in steps))


def trade(taken: float, dealt: float) -> list[SessionEvent]:
    return play(
        (0, "damage_taken", {"amount": taken}),
        (1, "shot", {"hit": True, "damage": dealt}),
        # What missed did no damage, whatever the client says.
        (2, "shot", {"hit": False, "damage": 900}),
    )


def deaths(*times_ms: int, cause: str = "rocket") -> list[SessionEvent]:
    return play(*((t_ms, "death", {"cause": cause}) for t_ms in times_ms))


def desperate(shots_at_low_health: int, *, health: int) -> list[SessionEvent]:
    wounded = [(0, "damage_taken", {"amount": 50, "health": health})]
    fired = [(1 + index, "shot", {"hit": True}) for index in range(shots_at_low_health)]
    return play(*wounded, *fired)


FOUND = [
    (rules.low_accuracy, shots(1, 4), 0.2),
    (rules.sharp_aim, shots(7, 3), 0.7),
    (rules.slow_reaction, duels(600, 701, 900), 701),
    (rules.quick_reaction, duels(300, 100, 900), 300),
    (rules.standing_still, walk((0, 0, 0), (5_000, 40, 40), (10_001, 0, 10)), 10.001),
    (rules.losing_trades, trade(taken=61, dealt=39), 0.61),
    (rules.short_lives, deaths(9_999, 15_000), 2),
    (rules.repeated_cause_of_death, deaths(20_000, 40_000, 60_000), 3),
    (rules.fighting_at_low_health, desperate(5, health=25), 5),
]

NOT_FOUND = [
    (rules.low_accuracy, shots(0, 4)),
    (rules.low_accuracy, shots(2, 3)),
    (rules.sharp_aim, shots(9, 0)),
    (rules.sharp_aim, shots(6, 4)),
    (rules.slow_reaction, duels(9_000, 9_000)),
    (rules.slow_reaction, duels(600, 700, 900)),
    (rules.quick_reaction, duels(100, 301, 900)),
    (rules.standing_still, walk((0, 0, 0), (10_000, 0, 0))),
    (rules.standing_still, walk((0, 0, 0), (9_000, 65, 0), (18_000, 130, 0))),
    (rules.losing_trades, trade(taken=60, dealt=40)),
    (rules.losing_trades, trade(taken=99, dealt=0)),
    (rules.short_lives, deaths(10_000, 15_000)),
    (rules.repeated_cause_of_death, [*deaths(1, 2), *deaths(3, cause="slime")]),
    (rules.fighting_at_low_health, desperate(4, health=25)),
    (rules.fighting_at_low_health, desperate(5, health=26)),
]


def test_every_rule_is_tried_on_both_sides_of_its_threshold() -> None:
    assert {rule for rule, *_ in FOUND} == set(rules.RULES) == {rule for rule, _ in NOT_FOUND}


@pytest.mark.parametrize(("rule", "events", "value"), FOUND)
def test_rule_finds(rule: Rule, events: list[SessionEvent], value: float) -> None:
    insight = rule(events)
    assert insight is not None
    assert insight.rule == rule.__name__
    assert insight.value == pytest.approx(value)
    assert 0 <= insight.severity <= 1
    assert insight.sample_count > 0
    known = {event.id for event in events}
    assert insight.evidence_event_ids
    assert known.issuperset(insight.evidence_event_ids)


@pytest.mark.parametrize(("rule", "events"), NOT_FOUND)
def test_rule_finds_nothing(rule: Rule, events: list[SessionEvent]) -> None:
    assert rule(events) is None


@pytest.mark.parametrize("rule", rules.RULES)
def test_a_session_without_events_says_nothing(rule: Rule) -> None:
    assert rule([]) is None


def test_healing_ends_low_health() -> None:
    events = play(
        (0, "damage_taken", {"amount": 90, "health": 10}),
        (1, "item_pickup", {"item": "medikit"}),
        *((2 + index, "shot", {"hit": False}) for index in range(9)),
    )
    assert rules.fighting_at_low_health(events) is None


def test_evidence_is_limited_to_ten_events() -> None:
    insight = rules.low_accuracy(shots(0, 500))
    assert insight is not None
    assert len(insight.evidence_event_ids) == 10
    assert insight.sample_count == 500


def test_the_most_severe_weakness_comes_first_and_strengths_last() -> None:
    events = [*shots(10, 0), *deaths(100_000, 101_000), *desperate(0, health=1)]
    found = rules.find_insights([*events, *trade(taken=500, dealt=0)])
    kinds = [insight.kind for insight in found]
    assert kinds == sorted(kinds, reverse=True)
    assert session_pb2.INSIGHT_KIND_STRENGTH in kinds
    weaknesses = [one.severity for one in found if one.kind == session_pb2.INSIGHT_KIND_WEAKNESS]
    assert weaknesses == sorted(weaknesses, reverse=True)


def test_every_weakness_has_its_own_drill() -> None:
    for rule, events, _ in FOUND:
        insight = rule(events)
        assert insight is not None
        drills = recommend([insight], difficulty=5)
        if insight.kind == session_pb2.INSIGHT_KIND_WEAKNESS:
            assert [drill.rule for drill in drills] == [insight.rule]
            assert drills[0].name == EXERCISES[insight.rule].name
            assert drills[0].name in DRILL_NAMES
    assert len(DRILL_NAMES) == len(EXERCISES) + 1


def test_without_weakness_the_next_step_is_harder() -> None:
    assert [(one.name, one.difficulty) for one in recommend([], difficulty=5)] == [("step_up", 6)]


def test_recommended_difficulty_stays_in_range() -> None:
    assert recommend([], difficulty=10)[0].difficulty == 10
    insight = rules.repeated_cause_of_death(deaths(1, 2, 3))
    assert insight is not None
    assert recommend([insight], difficulty=1)[0].difficulty == 1


def test_at_most_three_drills_are_recommended() -> None:
    weaknesses = [session_pb2.Insight(rule=rule, kind=2) for rule in EXERCISES]
    assert len(recommend(weaknesses, difficulty=5)) == 3


def test_score_adds_up_what_happened() -> None:
    events = play(
        (0, "shot", {"hit": True}),
        (1, "kill", {}),
        (2, "item_pickup", {"item": "medikit"}),
        (3, "death", {}),
        (4, "round_ended", {"outcome": "win"}),
    )
    assert scores(events) == [0, 100, 105, 55, 555]


def test_kills_without_a_hit_score_nothing() -> None:
    forged = play(*((index, "kill", {}) for index in range(50)))
    assert scores(forged)[-1] == 0
    one_hit = play((0, "shot", {"hit": True}), (1, "kill", {}), (2, "kill", {}))
    assert scores(one_hit)[-1] == 100


def test_summary_counts_equal_the_events() -> None:
    events = [*shots(3, 7), *deaths(2_000, 60_000)]
    summary = summarize("a-session", 5, events)
    assert dict(summary.counts) == {"shot": 10, "death": 2}
    assert summary.event_count == 12
    assert summary.play_time_s == 60
    assert summary.accuracy == pytest.approx(0.3)
    assert summary.score == -100
    assert [moment.score for moment in summary.timeline] == [-50, -100]


def test_summary_of_nothing_is_empty_and_still_recommends() -> None:
    summary = summarize("a-session", 5, [])
    assert (summary.score, summary.event_count, summary.play_time_s) == (0, 0, 0)
    assert not summary.HasField("accuracy")
    assert [drill.name for drill in summary.drills] == ["step_up"]


def test_timeline_is_bounded_and_says_what_it_left_out() -> None:
    summary = summarize("a-session", 5, deaths(*range(0, 250_000, 1_000)))
    assert len(summary.timeline) == MAX_MOMENTS
    assert summary.omitted_moment_count == 50
