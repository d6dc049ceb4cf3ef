"""Sequences for a recurrent network to learn from, drawn out of a ring of steps.

A network that remembers must be shown steps in order, and begins with an empty memory, zeros. Two
ways make that honest: a sequence begins where its episode did, as memory was empty there for the
player, too; or its first steps only fill the memory and carry no loss (burn-in). Lample & Chaplot
(2017) do the latter and learn from the last few steps of a sequence alone; here the beginning of an
episode, which they never learn from, needs no burn-in. Kapturowski et al. (2019) compare this with
storing the player's memory; zeros and burn-in need no space in the ring.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainer.returns import CUT, GOES_ON

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Draws before a ring counts as one without anything to draw; most fit at once.
PATIENCE = 1000


@dataclass(frozen=True)
class Sequences:
    """B sequences of S steps, and the step after them for the value of what it saw.

    Sequence b is rows `slots[b]` of game `games[b]`; shapes int64 [B, S + 1] and [B]. `mask`, bool
    [B, S], tells which steps carry loss: they are of one episode, have their burn-in or need none,
    and are not cut. Where the episode ends early, its last row is repeated without loss; what a
    recurrence computed before that does not change by it.
    """

    slots: NDArray[np.int64]
    games: NDArray[np.int64]
    mask: NDArray[np.bool_]


def draw_sequences(
    ends: NDArray[np.uint8],
    ages: NDArray[np.int32],
    held: range,
    *,
    count: int,
    burn_in: int,
    unroll: int,
    generator: np.random.Generator,
) -> Sequences:
    """Draw `count` sequences of burn_in + unroll steps from a ring of L slots for N games.

    `ends` and `ages`, [L, N], say how each step ended and how many came before it in its episode;
    `held` are the steps that may be read, counted from the first ever played: step s lies in slot
    s % L. A step that is not cut is drawn uniformly, and its sequence begins burn_in steps before
    it or with its episode, whichever is later, all of it held. Loss lies on what follows the
    burn-in; on all steps if the sequence begins with its episode. Raises ValueError where there is
    nothing to draw.
    """
    length = burn_in + unroll
    starts, games = _draw(
        ends, ages, held, count=count, burn_in=burn_in, unroll=unroll, generator=generator
    )
    rows = starts[:, None] + np.arange(length + 1)
    # The place in each sequence of its episode's last step; the last place of all if it goes on.
    over = ends[rows % len(ends), games[:, None]] != GOES_ON
    over[:, -1] = True
    last = over.argmax(axis=1)[:, None]
    slots = (starts[:, None] + np.minimum(np.arange(length + 1), last)) % len(ends)
    places = np.arange(length)
    is_first = ages[slots[:, :1], games[:, None]] == 0
    mask = (places <= last) & ((places >= burn_in) | is_first)
    mask &= ends[slots[:, :-1], games[:, None]] != CUT
    return Sequences(slots, games, mask)


def _draw(
    ends: NDArray[np.uint8],
    ages: NDArray[np.int32],
    held: range,
    *,
    count: int,
    burn_in: int,
    unroll: int,
    generator: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw where sequences start: steps counted from the first ever played, and games, [count]."""
    first, beyond = held.start, held.stop - burn_in - unroll
    starts = np.empty(count, dtype=np.int64)
    games = np.empty(count, dtype=np.int64)
    wanted = np.arange(count)
    for _ in range(PATIENCE if first < beyond else 0):
        steps = generator.integers(first, held.stop - unroll, size=wanted.size)
        places = steps % len(ends), generator.integers(0, ends.shape[1], size=wanted.size)
        starts[wanted] = steps - np.minimum(ages[places], burn_in)
        games[wanted] = places[1]
        is_held = (starts[wanted] >= first) & (starts[wanted] < beyond)
        wanted = wanted[~is_held | (ends[places] == CUT)]
        if not wanted.size:
            return starts, games
    raise ValueError("the ring holds no step that a sequence could be drawn for")
