"""What a network was made for, and whether that fits what a caller needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elodrome.registry.v1 import checkpoint_pb2

from kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def signature_of(manifest: Mapping[str, Any]) -> checkpoint_pb2.Signature:
    """Read the signature out of a checked manifest; what it leaves out may stand in its config."""
    facts = {**manifest.get("config", {}), **manifest}
    return checkpoint_pb2.Signature(
        algorithm=manifest["algorithm"],
        game=_text(facts.get("game")),
        scenario=_text(facts.get("scenario")),
        observation_shape=manifest["observation_shape"],
        action_combinations=_text(facts.get("action_combinations")),
        action_count=_count(facts.get("action_count")),
        frame_skip=_count(facts.get("frame_skip")),
        recurrent=facts.get("recurrent") is True,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31:
        return value
    return 0


def check_fits(actual: checkpoint_pb2.Signature, expected: checkpoint_pb2.Signature) -> None:
    """Raise SIGNATURE_MISMATCH, naming both values, where `expected` sets a field differently."""
    for field, wanted in expected.ListFields():
        found = getattr(actual, field.name)
        if found != wanted:
            raise mismatch(field.name, actual=_spell(found), expected=_spell(wanted))


def mismatch(field: str, *, actual: str, expected: str) -> errors.RpcError:
    """Say which part of a checkpoint's signature is not what is needed."""
    return errors.failed_precondition(
        f"the checkpoint's {field} is {actual}, needed is {expected}",
        reason="SIGNATURE_MISMATCH",
        field=field,
        actual=actual,
        expected=expected,
    )


def _spell(value: str | int | Iterable[int]) -> str:
    spelled = str(value) if isinstance(value, str | int) else "x".join(map(str, value))
    return spelled or "unknown"
