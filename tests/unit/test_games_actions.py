from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from games.doom.actions import GrammarError, parse_actions, used_buttons
from games.doom.scenarios import SCENARIOS

SIZES = {"move_fb": 2, "move_lr": 2, "turn_lr": 2, "look_ud": 2, "attack": 1, "speed": 1, "use": 1}


@pytest.mark.parametrize(
    ("grammar", "count"),
    [
        # Each group of k buttons offers k + 1 choices, and doing nothing is left out.
        ("attack", 1),
        ("move_lr", 2),
        ("move_lr;attack", 5),
        ("move_fb+move_lr", 4),
        ("move_fb;move_lr", 8),
        ("move_fb;move_lr;turn_lr;attack", 53),
        ("move_fb+move_lr;turn_lr;attack", 29),
        ("turn_lr+move_lr;move_f", 9),
        ("attack+move_lr;turn_lr;move_fb;speed!", 35),
    ],
)
def test_grammar_yields_the_product_of_its_groups(grammar: str, count: int) -> None:
    actions = parse_actions(grammar)
    assert len(actions) == count
    assert len(set(actions)) == count
    assert () not in actions


@given(
    st.lists(st.sampled_from(sorted(SIZES)), min_size=1, unique=True).flatmap(
        lambda names: st.tuples(
            st.just(names), st.lists(st.booleans(), min_size=len(names), max_size=len(names))
        )
    )
)
def test_choices_of_one_group_are_never_pressed_together(
    drawn: tuple[list[str], list[bool]],
) -> None:
    names, joins = drawn
    groups: list[list[str]] = []
    for name, joined in zip(names, joins, strict=True):
        groups[-1].append(name) if groups and joined else groups.append([name])
    actions = parse_actions(";".join("+".join(group) for group in groups))

    expected = 1
    for group in groups:
        expected *= 1 + sum(SIZES[name] for name in group)
    assert len(actions) == expected - 1
    for group in groups:
        alone = set(parse_actions("+".join(group)))
        pressed = {button for (button,) in alone}
        assert all(len(pressed.intersection(action)) <= 1 for action in actions)


def test_a_held_button_is_pressed_with_every_action_and_changes_none() -> None:
    chosen = parse_actions("turn_lr+attack")
    held = parse_actions("speed!;turn_lr+attack;crouch!")
    assert held == [(*action, "SPEED", "CROUCH") for action in chosen]


@pytest.mark.parametrize(
    ("grammar", "part"),
    [
        ("fly", "'fly'"),
        ("", "''"),
        ("attack;", "''"),
        ("move_fb;move_f", "twice"),
        ("attack+attack", "twice"),
        ("attack;attack!", "twice"),
        ("speed!;attack;speed!", "twice"),
        ("speed!", "nothing to choose"),
        ("attack;turn_lr!", "cannot hold 'turn_lr'"),
        ("attack;fly!", "cannot hold 'fly'"),
        ("attack;speed!+crouch", "'speed!'"),
    ],
)
def test_bad_grammar_is_refused_naming_its_part(grammar: str, part: str) -> None:
    with pytest.raises(GrammarError, match=part):
        parse_actions(grammar)


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_every_preset_presses_documented_buttons_only(name: str) -> None:
    scenario = SCENARIOS[name]
    assert set(used_buttons(parse_actions(scenario.action_combinations))) <= set(scenario.buttons)
