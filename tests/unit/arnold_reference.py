"""Arnold's forward pass a second time, in numpy and one observation at a time.

Written from what its repository declares (github.com/glample/Arnold, src/model), by the names of
its weights alone; it shares no line with `trainer.arnold`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Weights = Mapping[str, Array]


def sigmoid(x: Array) -> Array:
    return (1 / (1 + np.exp(-x))).astype(np.float32)


def convolve(image: Array, weights: Weights, layer: str, stride: int) -> Array:
    kernel = weights[f"{layer}.weight"]
    windows = sliding_window_view(image, kernel.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
    maps = np.tensordot(kernel, windows, axes=([1, 2, 3], [0, 3, 4]))
    return maps + weights[f"{layer}.bias"][:, None, None]


def normalise(maps: Array, weights: Weights, layer: str) -> Array:
    """By the statistics that training left."""
    mean, variance, scale, shift = (
        weights[f"{layer}.{name}"][:, None, None]
        for name in ("running_mean", "running_var", "weight", "bias")
    )
    return (maps - mean) / np.sqrt(variance + np.float32(1e-5)) * scale + shift


def linear(x: Array, weights: Weights, layer: str) -> Array:
    return weights[f"{layer}.weight"] @ x + weights[f"{layer}.bias"]


class Reference:
    """One network in the middle of an episode."""

    def __init__(
        self, weights: Weights, *, tables: Sequence[tuple[str, int, int]], recurrence: str = ""
    ) -> None:
        """`tables` are the embedded variables: name, how many values, values that share a row."""
        self.weights = weights
        self.tables = tables
        self.recurrence = recurrence
        self.layers = sum(name.startswith("rnn.weight_hh") for name in weights)
        self.normalised = "conv.1.running_mean" in weights
        self.begin()

    def begin(self) -> None:
        self.hidden = [self._nothing(layer) for layer in range(self.layers)]
        self.cell = [self._nothing(layer) for layer in range(self.layers)]

    def _nothing(self, layer: int) -> Array:
        return np.zeros(self.weights[f"rnn.weight_hh_l{layer}"].shape[1], dtype=np.float32)

    def seen(self, observation: NDArray[np.uint8]) -> Array:
        maps = observation.astype(np.float32) / np.float32(255)
        places = (("conv.0", "conv.1", 4), ("conv.3", "conv.4", 2))
        if not self.normalised:
            places = (("conv.0", "", 4), ("conv.2", "", 2))
        for layer, norm, stride in places:
            maps = convolve(maps, self.weights, layer, stride)
            maps = np.maximum(normalise(maps, self.weights, norm) if norm else maps, 0)
        return maps.reshape(-1)

    def values(self, observation: NDArray[np.uint8], variables: Sequence[int]) -> Array:
        parts = [self.seen(observation)]
        for (name, count, bucket), value in zip(self.tables, variables, strict=True):
            row = min(max(value, 0), count - 1) // bucket
            parts.append(self.weights[f"{name}_emb.weight"][row])
        known = np.concatenate(parts)
        hidden = self._remembered(known) if self.layers else self._hidden(known)
        scores = linear(hidden, self.weights, "proj_action_scores")
        if "proj_state_values.weight" in self.weights:
            scores = scores - scores.mean() + linear(hidden, self.weights, "proj_state_values")
        return scores

    def features(self, observation: NDArray[np.uint8]) -> Array:
        hidden = np.maximum(linear(self.seen(observation), self.weights, "proj_game_features.1"), 0)
        return sigmoid(linear(hidden, self.weights, "proj_game_features.4"))

    def _hidden(self, known: Array) -> Array:
        return sigmoid(linear(known, self.weights, "feedforward.0"))

    def _remembered(self, known: Array) -> Array:
        for layer in range(self.layers):
            named = {name: self.weights[f"rnn.{name}_l{layer}"] for name in _GATES}
            fresh = named["weight_ih"] @ known + named["bias_ih"]
            kept = named["weight_hh"] @ self.hidden[layer] + named["bias_hh"]
            known = self.hidden[layer] = self._step(layer, fresh, kept)
        return known

    def _step(self, layer: int, fresh: Array, kept: Array) -> Array:
        if self.recurrence == "rnn":
            return np.tanh(fresh + kept)
        if self.recurrence == "gru":
            reset, update = np.split(sigmoid(fresh + kept)[: 2 * len(fresh) // 3], 2)
            new = np.tanh(fresh[-len(reset) :] + reset * kept[-len(reset) :])
            return (1 - update) * new + update * self.hidden[layer]
        let_in, keep, candidate, show = np.split(fresh + kept, 4)
        self.cell[layer] = sigmoid(keep) * self.cell[layer] + sigmoid(let_in) * np.tanh(candidate)
        return sigmoid(show) * np.tanh(self.cell[layer])


_GATES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
