"""Game features: what is true of the screen, read from the labels that the engine gives objects.

Arnold (Lample & Chaplot, 2017) learns to predict them beside its actions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import vizdoom

    from games.interface import Frame

FEATURE_NAMES = ("target", "enemy")


def read_features(
    labels: Sequence[vizdoom.Label], buffer: Frame, *, has_players: bool
) -> tuple[bool, bool]:
    """Tell whether an enemy is in the middle of the screen, and whether one is anywhere on it.

    An enemy is a living monster and, where `has_players`, another player; without other players
    those the engine names are dolls. The dead are labelled as gore. The middle are the two columns
    in the centre, whatever the height, since weapons aim up and down by themselves; only pixels
    that nothing hides count. `buffer` holds the value of a label per pixel, uint8 [height, width].
    """
    categories = ("Monster", "Player") if has_players else ("Monster",)
    enemies = [label for label in labels if label.object_category in categories]
    right = buffer.shape[1] // 2
    left = right - 1
    ahead = {label.value for label in enemies if label.x <= right and label.x + label.width > left}
    is_target = bool(ahead) and not ahead.isdisjoint(buffer[:, left : right + 1].flat)
    return is_target, bool(enemies)
