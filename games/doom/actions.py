"""An action set is a grammar: ';' joins groups pressed together, '+' exclusive choices.

A group that ends in '!' is no choice: its one button is held with every action.
"""

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
    of those over all groups, less one; held buttons change no count. Count and order are those of
    Arnold (Lample & Chaplot, 2017), which leaves the empty combination out as well. Raises what
    `parse_groups` raises.
    """
    groups, held = parse_groups(grammar)
    choices = [
        [(), *((button,) for category in group for button in BUTTONS_BY_CATEGORY[category])]
        for group in groups
    ]
    pressed = tuple(button for category in held for button in BUTTONS_BY_CATEGORY[category])
    combinations = [sum(parts, ()) for parts in product(*choices)]
    return [(*combination, *pressed) for combination in combinations if combination]


def parse_groups(grammar: str) -> tuple[list[list[str]], list[str]]:
    """Split `grammar` into groups of categories to choose from, and those that are held.

    Raises GrammarError for an unknown or missing category, for a button named twice, and where
    nothing is left to choose.
    """
    texts = [text.strip() for text in grammar.split(";")]
    groups = [_parse_group(text) for text in texts if not text.endswith("!")]
    held = [_parse_held(text) for text in texts if text.endswith("!")]
    categories = [*(category for group in groups for category in group), *held]
    buttons = [button for category in categories for button in BUTTONS_BY_CATEGORY[category]]
    if len(set(buttons)) != len(buttons):
        raise GrammarError(f"{grammar!r} names a button twice")
    if not groups:
        raise GrammarError(f"{grammar!r} leaves nothing to choose")
    return groups, held


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


def _parse_held(text: str) -> str:
    name = text.removesuffix("!").strip()
    buttons = BUTTONS_BY_CATEGORY.get(name, ())
    if len(buttons) != 1:
        known = ", ".join(key for key, pressed in BUTTONS_BY_CATEGORY.items() if len(pressed) == 1)
        raise GrammarError(f"cannot hold {name!r}; can be held: {known}")
    return name
