"""Which exercise is recommended against which weakness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from elodrome.sessions.v1 import session_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MIN_DIFFICULTY = 1
MAX_DIFFICULTY = 10
MAX_DRILLS = 3


@dataclass(frozen=True)
class Exercise:
    """A drill before it is fitted to a player."""

    name: str
    title: str
    instructions: str
    duration_s: int
    # Added to the difficulty of the session that led here.
    difficulty_change: int = -1
    opponent_style: str = ""

    def fit(self, rule: str, difficulty: int) -> session_pb2.Drill:
        """Fit the exercise to the player who played at `difficulty`, 1 to 10."""
        wanted = difficulty + self.difficulty_change
        return session_pb2.Drill(
            name=self.name,
            title=self.title,
            instructions=self.instructions,
            rule=rule,
            difficulty=max(MIN_DIFFICULTY, min(MAX_DIFFICULTY, wanted)),
            opponent_style=self.opponent_style,
            duration_s=self.duration_s,
        )


EXERCISES: Mapping[str, Exercise] = {
    "low_accuracy": Exercise(
        "aim_tracking",
        "Track, then fire",
        "Keep the crosshair on the opponent for a full second before each shot. Miss no more than "
        "one shot in three.",
        duration_s=300,
    ),
    "slow_reaction": Exercise(
        "first_shot",
        "First shot",
        "Walk round corners with the crosshair at head height and fire the moment you see "
        "somebody.",
        duration_s=240,
        opponent_style="aggressive",
    ),
    "losing_trades": Exercise(
        "hit_and_cover",
        "Hit and cover",
        "Fire at most twice, then break the line of sight. Deal more damage than you take.",
        duration_s=300,
        opponent_style="aggressive",
    ),
    "short_lives": Exercise(
        "survive_the_opening",
        "Survive the opening",
        "Stay alive for the first 20 seconds of each life; nothing else counts.",
        duration_s=300,
        opponent_style="aggressive",
    ),
    "repeated_cause_of_death": Exercise(
        "know_the_threat",
        "Know the threat",
        "Let the opponent show what killed you, and find where you are safe from it.",
        duration_s=300,
        difficulty_change=-2,
    ),
    "fighting_at_low_health": Exercise(
        "retreat_and_heal",
        "Retreat and heal",
        "Leave the fight below 25 health and pick up an item before the next shot.",
        duration_s=240,
    ),
    "standing_still": Exercise(
        "keep_moving",
        "Keep moving",
        "Never stay on one spot for more than three seconds, not even to aim.",
        duration_s=240,
        difficulty_change=0,
    ),
}

# For a session that showed no weakness.
STEP_UP = Exercise(
    "step_up",
    "Step up",
    "No weakness showed. Play the same opponent one step harder.",
    duration_s=600,
    difficulty_change=1,
)

DRILL_NAMES = frozenset(exercise.name for exercise in (*EXERCISES.values(), STEP_UP))


def recommend(insights: Iterable[session_pb2.Insight], difficulty: int) -> list[session_pb2.Drill]:
    """Recommend at most 3 drills for the weaknesses, in their order; STEP_UP when there are none.

    `difficulty` is that of the session, 1 to 10.
    """
    drills = [
        EXERCISES[insight.rule].fit(insight.rule, difficulty)
        for insight in insights
        if insight.kind == session_pb2.INSIGHT_KIND_WEAKNESS
    ]
    return drills[:MAX_DRILLS] or [STEP_UP.fit("", difficulty)]
