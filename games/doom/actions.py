"""An action set is a grammar: ';' joins groups pressed together, '+' exclusive choices."""

from __future__ import annotations

from itertools import product

BUTTONS_BY_CATEGORY: dict[str, tuple[str, ...]] = {
    "move_fb": ("MOVE_FORWARD", "MOVE_BACKWARD"),
    "move_lr": ("MOVE_LEFT", "MOVE_RIGHT"),
    "turn_lr": ("TURN_LEFT", "TURN_RIGHT"),
    "look_ud": ("LOOK_UP", "LOOK_DOWN"),
    "move_f": ("MOVE_FORWARD",),
    "attack": ("ATTACK",),
    "speed": ("SPEED",),
    "crouch": ("CROUCH",),
    "jump": ("JUMP",),
    "use": ("USE",),
    "weapon": ("SELECT_NEXT_WEAPON", "SELECT_PREV_WEAPON"),
}


class GrammarError(ValueError):
    """The text is not an action grammar; the message names the offending part."""


def parse_actions(grammar: str) -> list[tuple[str, ...]]:
    """Expand `grammar` into button combinations, never the empty one, in a fixed order.

    A group of k buttons offers k + 1 choices (each button or none), so the count is the product
    of those over all groups, less one. Count and order are those of Arnold (Lample & Chaplot,
    2017), which leaves the empty combination out as well. Raises what `parse_groups` raises.
    """
    choices = [
        [(), *((button,) for category in group for button in BUTTONS_BY_CATEGORY[category])]
        for group in parse_groups(grammar)
    ]
    combinations = [sum(parts, ()) for parts in product(*choices)]
    return [combination for combination in combinations if combination]


def parse_groups(grammar: str) -> list[list[str]]:
    """Split `grammar` into groups of categories.

    Raises GrammarError for an unknown or missing category, and for a button named twice.
    """
    groups = [_parse_group(text) for text in grammar.split(";")]
    categories = [category for group in groups for category in group]
    buttons = [button for category in categories for button in BUTTONS_BY_CATEGORY[category]]
    if len(set(buttons)) != len(buttons):
        raise GrammarError(f"{grammar!r} names a button twice")
    return groups


def used_buttons(actions: list[tuple[str, ...]]) -> list[str]:
    """List every button that some action presses, in order of first use."""
    return list(dict.fromkeys(button for action in actions for button in action))


def _parse_group(text: str) -> list[str]:
    categories = [name.strip() for name in text.split("+")]
    for name in categories:
        if name not in BUTTONS_BY_CATEGORY:
            known = ", ".join(BUTTONS_BY_CATEGORY)
            raise GrammarError(f"unknown action {name!r}; known: {known}")
    return categories
