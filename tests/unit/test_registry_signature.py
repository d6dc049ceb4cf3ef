"""A signature comes from the manifest and is compared field by field."""

from __future__ import annotations

import pytest
from elodrome.registry.v1 import checkpoint_pb2

from kit.errors import RpcError
from services.registry.models.signature import check_fits, signature_of

MANIFEST = {
    "algorithm": "DQN",
    "observation_shape": [4, 36, 64],
    "config": {"game": "doom", "scenario": "basic", "frame_skip": 4, "network": 1},
    "action_count": 5,
    "action_combinations": "move_lr;attack",
    "recurrent": False,
}


def test_what_the_manifest_leaves_out_stands_in_its_config() -> None:
    signature = signature_of(MANIFEST)
    assert (signature.game, signature.scenario) == ("doom", "basic")
    assert (signature.frame_skip, signature.action_count) == (4, 5)


def test_values_of_the_wrong_type_count_as_unknown() -> None:
    signature = signature_of({**MANIFEST, "game": 7, "action_count": "many", "recurrent": "yes"})
    assert (signature.game, signature.action_count, signature.recurrent) == ("", 0, False)


def test_a_mismatch_names_both_shapes() -> None:
    expected = checkpoint_pb2.Signature(observation_shape=[3, 36, 64])
    with pytest.raises(RpcError) as refusal:
        check_fits(signature_of(MANIFEST), expected)
    assert refusal.value.reason == "SIGNATURE_MISMATCH"
    assert "4x36x64" in refusal.value.message
    assert "3x36x64" in refusal.value.message


def test_fields_that_are_not_asked_for_are_not_compared() -> None:
    check_fits(signature_of(MANIFEST), checkpoint_pb2.Signature(algorithm="DQN"))
