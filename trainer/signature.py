"""Whether a checkpoint fits where it is to be loaded: pure checks, made before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.checkpoint import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trainer.checkpoint import Manifest

SIGNATURE = (
    *("game", "observation_shape", "action_combinations", "action_count"),
    *("frame_skip", "recurrent"),
)
"""Fields of a manifest that decide what a player sees and does."""

_UPDATES_SEEN = "num_batches_tracked"


def check_signature(found: Manifest, needed: Manifest) -> None:
    """Refuse a checkpoint made for other observations, actions or decisions than are needed.

    Raises CheckpointError with both values of every field that differs, such as
    "observation_shape is 4x36x64, needed is 3x36x64".
    """
    differences = [
        f"{name} is {_spell(getattr(found, name))}, needed is {_spell(getattr(needed, name))}"
        for name in SIGNATURE
        if getattr(found, name) != getattr(needed, name)
    ]
    if differences:
        raise CheckpointError(f"the checkpoint does not fit: {'; '.join(differences)}")


def check_shapes(
    found: Mapping[str, Sequence[int]], needed: Mapping[str, Sequence[int]], *, network: str
) -> None:
    """Refuse weights, given by name and shape, that are not exactly those of the network.

    Raises CheckpointError listing every missing and every unknown name, and both shapes of every
    weight that has another. How many batches a normalisation has seen is no weight and may be
    missing: PyTorch before 0.4.1 did not count.
    """
    required = {name for name in needed if not name.endswith(_UPDATES_SEEN)}
    missing = [f"{name} {_spell(needed[name])}" for name in sorted(required - found.keys())]
    unknown = [f"{name} {_spell(found[name])}" for name in sorted(found.keys() - needed.keys())]
    reshaped = [
        f"{name} is {_spell(found[name])}, needed is {_spell(needed[name])}"
        for name in sorted(found.keys() & needed.keys())
        if tuple(found[name]) != tuple(needed[name])
    ]
    lists = {"missing": missing, "unknown": unknown, "of another shape": reshaped}
    faults = [f"{fault}: {', '.join(names)}" for fault, names in lists.items() if names]
    if faults:
        raise CheckpointError(f"the weights do not fit {network}; {'; '.join(faults)}")


def _spell(value: object) -> str:
    if isinstance(value, str | int):
        return str(value)
    sizes = tuple(value)  # type: ignore[call-overload]
    return "x".join(map(str, sizes)) or "a number"
