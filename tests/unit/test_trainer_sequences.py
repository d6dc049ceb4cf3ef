from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trainer.returns import CUT, ENDED, GOES_ON, n_step_returns
from trainer.sequences import Sequences, draw_sequences


@dataclass
class Ring:
    """Steps of some games, kept as a ring keeps them; `episodes` names each slot's episode."""

    ends: np.ndarray
    ages: np.ndarray
    episodes: np.ndarray
    steps: np.ndarray
    held: range

    def draw(self, *, burn_in: int, unroll: int, count: int = 64, seed: int = 0) -> Sequences:
        return draw_sequences(
            self.ends,
            self.ages,
            self.held,
            count=count,
            burn_in=burn_in,
            unroll=unroll,
            generator=np.random.default_rng(seed),
        )


def play(ends: np.ndarray, *, slots: int, lost: int = 0) -> Ring:
    """Write steps with these `ends`, [steps, games], into a ring, over what is oldest."""
    played, games = ends.shape
    ring = {
        "ends": np.zeros((slots, games), dtype=np.uint8),
        "ages": np.zeros((slots, games), dtype=np.int32),
        "episodes": np.zeros((slots, games), dtype=int),
        "steps": np.full((slots, games), -1),
    }
    age, episode = np.zeros(games, dtype=int), np.arange(games) * 1000
    for step in range(played):
        for name, row in {
            "ends": ends[step],
            "ages": age,
            "episodes": episode,
            "steps": step,
        }.items():
            ring[name][step % slots] = row
        age = np.where(ends[step] == GOES_ON, age + 1, 0)
        episode += ends[step] != GOES_ON
    return Ring(**ring, held=range(max(0, played - slots) + lost, played))


@st.composite
def rings(draw: st.DrawFn) -> Ring:
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    going = draw(st.sampled_from([0.3, 0.8, 0.95, 1.0]))
    chances = [going, (1 - going) / 2, (1 - going) / 2]
    shape = draw(st.integers(30, 120)), draw(st.integers(1, 3))
    ends = generator.choice([GOES_ON, ENDED, CUT], shape, p=chances).astype(np.uint8)
    return play(ends, slots=draw(st.integers(25, 130)), lost=draw(st.integers(0, 3)))


sizes = {"burn_in": st.integers(0, 5), "unroll": st.integers(1, 6)}


def drawn(ring: Ring, burn_in: int, unroll: int) -> Sequences:
    try:
        return ring.draw(burn_in=burn_in, unroll=unroll)
    except ValueError:
        assume(condition=False)
        raise


@given(ring=rings(), **sizes)
@settings(deadline=None)
def test_a_sequence_is_one_stretch_of_one_episode(ring: Ring, burn_in: int, unroll: int) -> None:
    sequences = drawn(ring, burn_in, unroll)
    assert sequences.slots.shape == (64, burn_in + unroll + 1)
    for slots, game in zip(sequences.slots, sequences.games, strict=True):
        steps, ends = ring.steps[slots, game], ring.ends[slots, game]
        over = np.flatnonzero(ends != GOES_ON)
        last = over[0] if over.size else len(slots) - 1
        assert set(steps) <= set(ring.held)
        assert (np.diff(steps[: last + 1]) == 1).all()
        assert (steps[last:] == steps[last]).all()
        assert len(set(ring.episodes[slots, game])) == 1


@given(ring=rings(), **sizes)
@settings(deadline=None)
def test_loss_lies_on_what_the_memory_was_prepared_for(
    ring: Ring, burn_in: int, unroll: int
) -> None:
    """Exactly: after burn-in or from an episode's start, no cut step, no step shown again."""
    sequences = drawn(ring, burn_in, unroll)
    for slots, game, mask in zip(sequences.slots, sequences.games, sequences.mask, strict=True):
        begins = ring.ages[slots[0], game] == 0
        for place, slot in enumerate(slots[:-1]):
            is_new = place == 0 or slot != slots[place - 1]
            is_prepared = begins or place >= burn_in
            assert mask[place] == (is_new and is_prepared and ring.ends[slot, game] != CUT)
        assert mask.any()


@given(ring=rings(), n=st.integers(1, 4), **sizes)
@settings(deadline=None)
def test_returns_of_a_sequence_are_those_of_its_episode(
    ring: Ring, n: int, burn_in: int, unroll: int
) -> None:
    sequences = drawn(ring, burn_in, unroll)
    rows, games = sequences.slots[:, :-1], sequences.games[:, None]
    rewards = ring.steps[rows, games].astype(np.float32)
    returns, discounts, ahead = n_step_returns(rewards.T, ring.ends[rows, games].T, gamma=0.5, n=n)
    for sequence, place in np.argwhere(sequences.mask):
        game, slots = sequences.games[sequence], sequences.slots[sequence]
        step = int(ring.steps[slots[place], game])
        total, discount = 0.0, 1.0
        for back in range(int(min(n, len(slots) - 1 - place))):
            end = ring.ends[(step + back) % len(ring.ends), game]
            if end == CUT:
                break
            total += discount * (step + back)
            discount *= 0 if end == ENDED else 0.5
            if end == ENDED:
                break
        assert returns[place, sequence] == pytest.approx(total)
        assert discounts[place, sequence] == discount
        if discount:
            after = slots[place + ahead[place, sequence]]
            assert discount == 0.5 ** (int(ring.steps[after, game]) - step)


def ends_of_length(*lengths: int, end: int = ENDED) -> np.ndarray:
    ends = [np.array([GOES_ON] * (length - 1) + [end]) for length in lengths]
    return np.concatenate(ends).astype(np.uint8)[:, None]


def learned(ring: Ring, *, burn_in: int, unroll: int) -> dict[int, float]:
    """How often each step carries loss when many sequences are drawn."""
    sequences = ring.draw(burn_in=burn_in, unroll=unroll, count=5000)
    steps = ring.steps[sequences.slots[:, :-1], sequences.games[:, None]][sequences.mask]
    return {int(step): float((steps == step).mean()) for step in np.unique(steps)}


def test_every_step_is_learned_from_and_those_in_the_middle_equally() -> None:
    shares = learned(play(ends_of_length(40, 20), slots=100), burn_in=3, unroll=4)
    # The newest step of all shows what the one before led to.
    assert set(shares) == set(range(59))
    middle = [shares[step] for step in range(7, 40)]
    np.testing.assert_allclose(middle, np.mean(middle), rtol=0.2)


def test_a_sequence_that_begins_with_its_episode_needs_no_burn_in() -> None:
    ring = play(ends_of_length(2, 30), slots=100)
    sequences = ring.draw(burn_in=5, unroll=3, count=2000)
    short, later = sequences.slots[:, 0] == 0, sequences.slots[:, 0] > 2
    assert (sequences.slots[short] == [0] + [1] * 8).all()
    assert (sequences.mask[short] == [True] * 2 + [False] * 6).all()
    assert (sequences.mask[sequences.slots[:, 0] == 2] == [True] * 8).all()
    assert (sequences.mask[later] == [False] * 5 + [True] * 3).all()
    assert short.any()
    assert later.any()


def test_a_cut_step_is_seen_but_not_learned_from() -> None:
    ring = play(ends_of_length(3, 30, end=CUT), slots=100)
    sequences = ring.draw(burn_in=0, unroll=4, count=2000)
    whole = sequences.slots[:, 0] == 0
    assert (sequences.slots[whole] == [0, 1, 2, 2, 2]).all()
    assert (sequences.mask[whole] == [True, True, False, False]).all()
    assert 2 not in sequences.slots[:, 0]


def test_burn_in_that_the_ring_has_lost_rules_a_step_out() -> None:
    # One endless episode of which steps 60 to 99 are left; four of them prepare the fifth.
    ring = play(np.zeros((100, 1), dtype=np.uint8), slots=40)
    sequences = ring.draw(burn_in=4, unroll=2, count=3000)
    assert ring.steps[sequences.slots[:, 0], 0].min() == 60
    assert ring.steps[sequences.slots[:, -1], 0].max() == 99
    assert (sequences.mask == [False] * 4 + [True] * 2).all()


def test_same_generator_same_sequences() -> None:
    ring = play(ends_of_length(9, 30), slots=50)
    first, second, other = (ring.draw(burn_in=2, unroll=3, seed=seed) for seed in (1, 1, 2))
    assert (first.slots == second.slots).all()
    assert not (first.slots == other.slots).all()


@pytest.mark.parametrize(
    "ring",
    [
        play(np.zeros((5, 1), dtype=np.uint8), slots=10),
        play(np.full((40, 1), CUT, dtype=np.uint8), slots=50),
    ],
    ids=["too few steps", "nothing but cut steps"],
)
def test_a_ring_without_anything_to_draw_is_refused(ring: Ring) -> None:
    with pytest.raises(ValueError, match="no step"):
        ring.draw(burn_in=2, unroll=3)
