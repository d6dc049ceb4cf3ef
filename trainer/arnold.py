"""Arnold's networks `dqn_ff` and `dqn_rnn`, and the import of their weights.

Layers, their names and how they are put together follow Arnold (Lample & Chaplot, "Playing FPS
Games with Deep Reinforcement Learning", 2017; layout: github.com/glample/Arnold, src/model), so
that a state dict which it saved fits. B batch, C channels, H height, W width, V game variables,
A actions, F game features.

Two things that Arnold does around its network are not done here: switching to the best weapon
there is ammunition for, and turning about when stuck.
"""

from __future__ import annotations

import pickle
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn

from trainer.checkpoint import CheckpointError, Manifest, Tensors, grouped
from trainer.signature import check_shapes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer.arnold_parameters import Embedding, Parameters

State: TypeAlias = tuple[Tensor, ...]
"""What it remembers, each float [layers, B, hidden_dim]: two of an LSTM, none of a dqn_ff."""

ORIGIN = "github.com/glample/Arnold"
_LAYERS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
_CELLS = {"rnn": torch.rnn_tanh_cell, "gru": torch.gru_cell, "lstm": torch.lstm_cell}
_CELL_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class ArnoldNetwork(nn.Module):
    """Two convolutions beside embedded game variables, then a hidden or a recurrent layer."""

    def __init__(self, parameters: Parameters) -> None:
        """Lay out the layers that the parameters declare."""
        super().__init__()
        self.declared = parameters
        channels, height, width = parameters.observation.space.shape
        self.conv = nn.Sequential(
            nn.Conv2d(channels, 32, kernel_size=8, stride=4),
            *([nn.BatchNorm2d(32)] if parameters.use_bn else []),
            nn.ReLU(),
            nn.Conv2d(32, 64, kernel_size=4, stride=2),
            *([nn.BatchNorm2d(64)] if parameters.use_bn else []),
            nn.ReLU(),
        )
        seen = 64 * _convolved(height) * _convolved(width)
        for row in parameters.embeddings:
            self.add_module(_key(row), nn.Embedding(row.buckets, row.width))
        known = seen + sum(row.width for row in parameters.embeddings)
        self.dropout = nn.Dropout(parameters.dropout)
        if parameters.feature_count:
            self.proj_game_features = self._feature_head(seen)
        self._add_hidden(known)
        self.proj_action_scores = nn.Linear(parameters.hidden_dim, parameters.action_count)
        if parameters.dueling_network:
            self.proj_state_values = nn.Linear(parameters.hidden_dim, 1)

    def _feature_head(self, seen: int) -> nn.Sequential:
        declared = self.declared
        return nn.Sequential(
            nn.Dropout(declared.dropout),
            nn.Linear(seen, declared.hidden_dim),
            nn.ReLU(),
            nn.Dropout(declared.dropout),
            nn.Linear(declared.hidden_dim, declared.feature_count),
            nn.Sigmoid(),
        )

    def _add_hidden(self, known: int) -> None:
        declared = self.declared
        if declared.is_recurrent:
            self.rnn = _LAYERS[declared.recurrence](
                known, declared.hidden_dim, num_layers=declared.n_rec_layers, batch_first=True
            )
        else:
            self.feedforward = nn.Sequential(nn.Linear(known, declared.hidden_dim), nn.Sigmoid())

    def initial_state(self, batch_size: int = 1) -> State:
        """Remember nothing, as at the start of an episode."""
        declared = self.declared
        size = (declared.n_rec_layers, batch_size, declared.hidden_dim)
        count = {"": 0, "lstm": 2}.get(declared.recurrence, 1)
        return tuple(torch.zeros(size) for _ in range(count))

    def forward(
        self, observations: Tensor, variables: Tensor, state: State
    ) -> tuple[Tensor, State]:
        """Value the actions: uint8 [B, C, H, W] and int64 [B, V] to float [B, A], and remember."""
        hidden, state = self._hidden(self._known(observations, variables), state)
        scores = self.proj_action_scores(hidden)
        if self.declared.dueling_network:
            scores = self.proj_state_values(hidden) + scores - scores.mean(dim=1, keepdim=True)
        return scores, state

    def game_features(self, observations: Tensor) -> Tensor:
        """Tell how likely each game feature is on screen: uint8 [B, C, H, W] to float [B, F]."""
        return self.proj_game_features(self._seen(observations))

    def _seen(self, observations: Tensor) -> Tensor:
        return self.conv(observations.to(torch.float32).div_(255)).flatten(1)

    def _known(self, observations: Tensor, variables: Tensor) -> Tensor:
        parts = [self._seen(observations)]
        for column, row in enumerate(self.declared.embeddings):
            # A soulsphere lifts health above what the table was made for; the dead go below it.
            value = variables[:, column].clamp(0, row.values - 1)
            parts.append(self.get_submodule(_key(row))(value // row.bucket_size))
        return self.dropout(torch.cat(parts, dim=1))

    def _hidden(self, known: Tensor, state: State) -> tuple[Tensor, State]:
        if not self.declared.is_recurrent:
            return self.feedforward(known), state
        # The whole layer would have oneDNN pack its weights anew for every single step: 22 ms of
        # an LSTM's decision on one core, where its cell takes 1.6.
        recurrence = self.declared.recurrence
        cell = _CELLS[recurrence]
        hidden, after = known, []
        for layer in range(self.declared.n_rec_layers):
            before = tuple(part[layer] for part in state)
            weights = [getattr(self.rnn, f"{name}_l{layer}") for name in _CELL_WEIGHTS]
            new = cell(hidden, before if recurrence == "lstm" else before[0], *weights)
            after.append(new if isinstance(new, tuple) else (new,))
            hidden = after[-1][0]
        return hidden, tuple(torch.stack(parts) for parts in zip(*after, strict=True))


def import_state_dict(
    source: Path | Mapping[str, Tensor], parameters: Parameters
) -> tuple[Manifest, Tensors]:
    """Turn a state dict that Arnold saved into a checkpoint, ready for `checkpoint.write`.

    Of a file only tensors are read: one that would run anything is refused, and nothing runs.
    Raises CheckpointError for that, for whatever is not a state dict, and for one that is not
    exactly of the declared network; then the message lists the names and both shapes.
    """
    state = _read(source) if isinstance(source, Path) else dict(source)
    _check_tensors(state)
    network = ArnoldNetwork(parameters)
    check_shapes(shapes(state), shapes(network.state_dict()), network=parameters.network_type)
    network.load_state_dict(state, strict=False)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return manifest_of(parameters), grouped(network=weights)


def manifest_of(parameters: Parameters) -> Manifest:
    """Describe a checkpoint of these parameters; how long it learned, and from what, is unknown."""
    options = parameters.observation
    return Manifest(
        algorithm="DRQN" if parameters.is_recurrent else "DQN",
        game="doom",
        scenario=parameters.scenario,
        action_combinations=parameters.grammar,
        action_count=parameters.action_count,
        observation_shape=options.space.shape,
        observation=asdict(options),
        frame_skip=parameters.frame_skip,
        recurrent=parameters.is_recurrent,
        network={"name": parameters.network_type, "arguments": parameters.to_mapping()},
        config={"imported_from": ORIGIN},
        iteration=0,
        steps=0,
    )


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """List tensors by name and shape."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _convolved(size: int) -> int:
    """Say how long a side is after both convolutions."""
    return ((size - 8) // 4 + 1 - 4) // 2 + 1


def _key(row: Embedding) -> str:
    return f"{row.name}_emb"


def _read(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path.name} holds more than tensors: {error}") from error
    # A damaged file fails in as many ways as there are instructions in it.
    except Exception as error:
        raise CheckpointError(f"{path.name} is not a state dict: {error}") from error
    if not isinstance(loaded, dict):
        raise CheckpointError(
            f"{path.name} is not a state dict: it holds a {type(loaded).__name__}"
        )
    return loaded


def _check_tensors(state: Mapping[str, object]) -> None:
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f"{name!r} of the state dict is a {type(value).__name__}, no tensor"
            )
