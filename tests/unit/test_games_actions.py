from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from games.doom.actions import BUTTONS_BY_CATEGORY, GrammarError, parse_actions, used_buttons
from games.doom.scenarios import SCENARIOS, check_actions

if TYPE_CHECKING:
    from games.doom.scenarios import Scenario

SIZES = {"move_fb": 2, "move_lr": 2, "turn_lr": 2, "look_ud": 2, "attack": 1, "speed": 1, "use": 1}


@pytest.mark.parametrize(
    ("grammar", "count"),
    [
        # The counts of Arnold (glample/Arnold, src/doom/actions.py): each group of k buttons
        # offers k + 1 choices, and of all combinations only the empty one is left out.
        ("attack", 1),
        ("move_lr", 2),
        ("move_lr;attack", 5),
        ("turn_lr;attack", 5),
        ("move_fb+move_lr", 4),
        ("move_fb;move_lr", 8),
        ("move_fb;turn_lr;attack", 17),
        ("move_fb;move_lr;turn_lr", 26),
        ("move_fb;move_lr;turn_lr;attack", 53),
        ("move_fb;move_lr;turn_lr;look_ud;attack", 161),
        ("move_fb+move_lr;turn_lr;attack", 29),
        ("move_fb+turn_lr+move_lr", 6),
        ("move_fb+turn_lr+move_lr;attack", 13),
        ("turn_lr+move_fb;move_lr", 14),
        ("turn_lr+look_ud;move_fb+move_lr;attack", 49),
        # Groups of our own.
        ("turn_lr+move_lr;move_f", 9),
        ("move_f;turn_lr;use", 11),
        ("attack+move_lr;turn_lr;move_fb;speed!", 35),
    ],
)
def test_grammar_yields_the_product_of_its_groups(grammar: str, count: int) -> None:
    actions = parse_actions(grammar)
    assert len(actions) == count
    assert len(set(actions)) == count
    assert () not in actions


def test_actions_come_in_the_order_of_their_groups() -> None:
    assert parse_actions("turn_lr+attack;move_lr") == [
        ("MOVE_LEFT",),
        ("MOVE_RIGHT",),
        ("TURN_LEFT",),
        ("TURN_LEFT", "MOVE_LEFT"),
        ("TURN_LEFT", "MOVE_RIGHT"),
        ("TURN_RIGHT",),
        ("TURN_RIGHT", "MOVE_LEFT"),
        ("TURN_RIGHT", "MOVE_RIGHT"),
        ("ATTACK",),
        ("ATTACK", "MOVE_LEFT"),
        ("ATTACK", "MOVE_RIGHT"),
    ]


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


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda row: row.name)
def test_every_preset_presses_documented_buttons_only(scenario: Scenario) -> None:
    check_actions(scenario, scenario.action_combinations)
    pressed = used_buttons(parse_actions(scenario.action_combinations))
    assert set(pressed) <= set(scenario.buttons)


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda row: row.name)
@pytest.mark.parametrize("category", BUTTONS_BY_CATEGORY)
def test_a_group_that_the_scenario_lacks_is_refused(scenario: Scenario, category: str) -> None:
    if set(BUTTONS_BY_CATEGORY[category]) <= set(scenario.buttons):
        check_actions(scenario, category)
        return
    with pytest.raises(GrammarError, match=f"^{scenario.name} has no {category}; allowed: "):
        check_actions(scenario, category)


def test_a_refusal_names_the_groups_allowed() -> None:
    with pytest.raises(GrammarError, match=r"basic has no turn_lr; allowed: move_lr, attack$"):
        check_actions(SCENARIOS["basic"], "move_lr;turn_lr;attack")
    with pytest.raises(GrammarError, match="unknown action 'fly'"):
        check_actions(SCENARIOS["basic"], "fly")
