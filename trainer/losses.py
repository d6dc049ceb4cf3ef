"""What the algorithms minimise, as pure functions of tensors.

Each answers a scalar, the mean over the samples that `valid` marks (any shape S, bool or 0 and 1);
values of other samples count for nothing but must be finite. Nothing here waits for a GPU or has a
shape that depends on data, so all of it can be captured in a CUDA graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def action_log_probs(logits: Tensor, actions: Tensor) -> Tensor:
    """Compute log pi(a|s), S, of `actions` int64, S, from `logits` [*S, A]."""
    return logits.log_softmax(dim=-1).gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def standardized(
    advantages: Tensor, valid: Tensor, total: Callable[[Tensor], Tensor] = lambda own: own
) -> Tensor:
    """Give the valid advantages mean 0 and deviation 1; the others become finite and no more.

    `total` adds up a tensor over the learners whose advantages are to be taken together.
    """
    exact, weights = advantages.double(), valid.double()
    sums = [weights, exact * weights, exact.square() * weights]
    count, first, second = total(torch.stack([one.sum() for one in sums])).unbind()
    mean = first / count.clamp(min=1)
    variance = (second / count.clamp(min=1) - mean.square()).clamp(min=0)
    return ((exact - mean) / (variance.sqrt() + 1e-8)).to(advantages.dtype)


def policy_loss(
    log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, valid: Tensor, *, clip: float
) -> Tensor:
    """Compute the clipped surrogate, equation 7 of Schulman et al. (2017), negated to minimise.

    A step gains nothing by moving pi/pi_old out of [1 - clip, 1 + clip] to its advantage.
    """
    ratios = (log_probs - old_log_probs).exp()
    clipped = ratios.clamp(1 - clip, 1 + clip)
    return -masked_mean(torch.minimum(ratios * advantages, clipped * advantages), valid)


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, valid: Tensor, *, clip: float | None
) -> Tensor:
    """Compute half the squared error, equation 9 of Schulman et al. (2017).

    With `clip`, a value that moved more than that from `old_values`, those of the player, is held
    there where this makes the error larger (as in the authors' program; not in the paper).
    """
    errors = (values - returns).square()
    if clip is not None:
        held = old_values + (values - old_values).clamp(-clip, clip)
        errors = torch.maximum(errors, (held - returns).square())
    return 0.5 * masked_mean(errors, valid)


def entropy(logits: Tensor, valid: Tensor) -> Tensor:
    """Compute the mean entropy of the policies `logits` [*S, A], in nats: from 0 to log A."""
    log_probs = logits.log_softmax(dim=-1)
    return -masked_mean((log_probs.exp() * log_probs).sum(dim=-1), valid)


def q_targets(choosing: Tensor, judging: Tensor, returns: Tensor, discounts: Tensor) -> Tensor:
    """Compute R + g Q_judging(s', argmax_a Q_choosing(s', a)), S; no gradient passes.

    `choosing` and `judging` are [*S, A], values of the same states. Double DQN lets the network
    choose and the target network judge (van Hasselt et al. 2016); with the target network for
    both, this is DQN (Mnih et al. 2015).
    """
    best = choosing.argmax(dim=-1, keepdim=True)
    return (returns + discounts * judging.gather(-1, best).squeeze(-1)).detach()


def huber_loss(
    values: Tensor,
    targets: Tensor,
    valid: Tensor,
    *,
    weights: Tensor | None = None,
    delta: float = 1.0,
) -> Tensor:
    """Compute Huber's loss (1964): squared up to an error of `delta`, then linear.

    `weights`, S, are those of importance sampling (Schaul et al. 2016, section 3.4): they scale the
    samples' parts of the mean but do not count as samples.
    """
    losses = nn.functional.huber_loss(values, targets, reduction="none", delta=delta)
    return masked_mean(losses if weights is None else losses * weights, valid)


def feature_loss(logits: Tensor, features: Tensor, valid: Tensor) -> Tensor:
    """Compute the binary cross-entropy of game features (Lample & Chaplot 2017).

    `logits` and `features`, 0 or 1, are [*S, F]; the mean goes over the features, too.
    """
    losses = nn.functional.binary_cross_entropy_with_logits(
        logits, features.to(logits.dtype), reduction="none"
    )
    return masked_mean(losses.mean(dim=-1), valid)


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Average what `valid` marks; 0 where it marks nothing."""
    weights = valid.to(values.dtype)
    return (values * weights).sum() / weights.sum().clamp(min=1)
