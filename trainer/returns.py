"""What a step turned out to be worth: advantages, targets of values and n-step returns.

Pure float32 arithmetic on windows of T steps of N games, [T, N], one pass over all games at once.
Row t is what was seen at step t, what the action led to (`rewards`), and whether that was the last
of its episode (`ends`):

- GOES_ON: row t + 1 saw the next state; after the last row it is the one that `bootstrap` values.
- ENDED: there is no future; what follows in the window is another episode.
- CUT: the clock ended the episode. There was a future but nobody saw it, so the step itself teaches
  nothing (it is not valid, weigh it 0); the step before it takes the cut state's value for all that
  would have followed (Pardo et al. 2018, partial-episode bootstrapping).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Ends = NDArray[np.uint8]
    Valid = NDArray[np.bool_]

GOES_ON, ENDED, CUT = 0, 1, 2


def generalized_advantages(
    rewards: Floats, values: Floats, bootstrap: Floats, ends: Ends, *, gamma: float, lam: float
) -> tuple[Floats, Floats, Valid]:
    """Compute GAE(gamma, lambda): equation 16 of Schulman et al. (2016).

    `values` are V of the states seen, `bootstrap` [N] that of the state after the last row; it
    counts where the last row goes on. Answers the advantages, the returns A + V that values are
    drawn to, and which steps are valid. An invalid step has advantage 0.
    """
    valid = ends != CUT
    errors = rewards + gamma * _following(values, bootstrap, ends) - values
    weights = np.where(ends == GOES_ON, np.float32(gamma * lam), 0)
    advantages = _sums(np.where(valid, errors, 0), weights)
    return advantages, advantages + values, valid


def vtrace(
    rewards: Floats,
    values: Floats,
    bootstrap: Floats,
    ends: Ends,
    *,
    behaviour_log_probs: Floats,
    target_log_probs: Floats,
    gamma: float,
    lam: float = 1.0,
    rho_clip: float = 1.0,
    c_clip: float = 1.0,
) -> tuple[Floats, Floats, Valid]:
    """Correct for actions of an older policy: V-trace, equation 1 of Espeholt et al. (2018).

    The log probabilities are those of the actions taken, under the policy that took them and under
    the one that learns. `lam` scales c as in remark 2 of the paper. Answers advantages rho (r +
    gamma v' - V) for the policy (section 4.2), the targets v, and which steps are valid. With equal
    policies and clips of at least 1 the targets are the returns of GAE. Clips lie above 0.
    """
    valid = ends != CUT
    log_ratios = target_log_probs - behaviour_log_probs
    # Clipped before it is raised, as the ratio of a forgotten action overflows.
    rhos = np.exp(np.minimum(log_ratios, math.log(rho_clip)))
    traces = lam * np.exp(np.minimum(log_ratios, math.log(c_clip)))
    errors = rhos * (rewards + gamma * _following(values, bootstrap, ends) - values)
    corrections = _sums(np.where(valid, errors, 0), gamma * traces * (ends == GOES_ON))
    targets = values + corrections
    advantages = rhos * (rewards + gamma * _following(targets, bootstrap, ends) - values)
    return np.where(valid, advantages, 0), targets, valid


def n_step_returns(
    rewards: Floats, ends: Ends, *, gamma: float, n: int
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Sum what the next n steps earned: the n-step return of Sutton & Barto (2018), chapter 7.

    Answers the sums R, the discounts g and how many rows ahead the state s' is whose value
    completes them to R + g V(s'), all [T, N]. A sum ends with its episode (then g is 0), before a
    cut step (s' is the cut state), and after the last row (s' is the state after it, row T). A cut
    step itself has R = 0, g = 1 and itself as s': leave it out.
    """
    count = len(rewards)
    returns = np.zeros_like(rewards)
    discounts = np.ones_like(rewards)
    ahead = np.zeros(rewards.shape, dtype=np.int64)
    going = np.ones(rewards.shape, dtype=bool)
    for back in range(min(n, count)):
        # Row t of these views looks at row t + back of the window.
        rows = slice(0, count - back)
        now = going[rows]
        now &= ends[back:] != CUT
        returns[rows] += np.where(now, discounts[rows] * rewards[back:], 0)
        discounts[rows] *= np.where(now, np.float32(gamma), 1)
        discounts[rows][now & (ends[back:] == ENDED)] = 0
        now &= ends[back:] == GOES_ON
        ahead[rows] += now
    return returns, discounts, ahead


def _following(values: Floats, bootstrap: Floats, ends: Ends) -> Floats:
    """Value the state after each step: 0 after the end of an episode."""
    return np.where(ends == ENDED, 0, np.concatenate([values[1:], bootstrap[None]]))


def _sums(terms: Floats, weights: Floats) -> Floats:
    """Compute x_t = terms_t + weights_t x_(t+1), from the last row to the first."""
    sums = terms.copy()
    for row in range(len(sums) - 2, -1, -1):
        sums[row] += weights[row] * sums[row + 1]
    return sums
