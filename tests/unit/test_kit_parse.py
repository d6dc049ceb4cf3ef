from __future__ import annotations

import pytest
from elodrome.auth.v1 import rule_pb2
from google.protobuf.struct_pb2 import Struct

from kit import parse
from kit.errors import RpcError


def refusal(check: object, *arguments: object, **options: object) -> str:
    with pytest.raises(RpcError) as caught:
        check(*arguments, **options)
    return caught.value.message


def struct(**values: object) -> Struct:
    made = Struct()
    made.update(values)
    return made


def test_a_uuid_is_lowered_and_must_be_whole() -> None:
    upper = "7D9F1C56-0000-4000-8000-00000000000A"
    assert parse.uuid(upper, "run_id") == upper.lower()
    assert parse.optional_uuid("", "run_id") is None
    for wrong in ("", "7", upper.replace("-", ""), f"{{{upper}}}", upper + "\n", "../" + upper):
        assert refusal(parse.uuid, wrong, "run_id") == "run_id: must be a UUID"


def test_text_is_stripped_and_bounded() -> None:
    assert parse.text("  a b\n", "name", max_length=3) == "a b"
    assert "must not be empty" in refusal(parse.text, " \n", "name", max_length=3)
    assert "at most 3" in refusal(parse.text, "abcd", "name", max_length=3)
    assert parse.text("", "note", max_length=3, min_length=0) == ""


@pytest.mark.parametrize("wrong", ["a\x00b", "a\x1b[31mb", "a\x7fb", "a\x85b", "a\ud800b"])
def test_text_holds_no_control_characters(wrong: str) -> None:
    assert "control characters" in refusal(parse.text, wrong, "name", max_length=99)


def test_a_slug_begins_and_ends_with_a_letter_or_digit() -> None:
    for good in ("a", "dqn-basic", "v1.2", "a_b", "0"):
        assert parse.slug(good, "name") == good
    for wrong in ("", "-a", "a-", "A", "a b", "a/b", "a" * 65, "ä", "a\n"):
        assert "lowercase letters" in refusal(parse.slug, wrong, "name")


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -0.01, 1.01])
def test_a_number_is_finite_and_in_range(wrong: float) -> None:
    assert "0..1" in refusal(parse.number, wrong, "ratio", minimum=0, maximum=1)


def test_an_enum_value_must_be_known_and_set() -> None:
    assert parse.enum_value(rule_pb2.SCOPE_READ, "scope", rule_pb2.Scope) == rule_pb2.SCOPE_READ
    expected = "scope: must be one of READ, TRAIN, SUBMIT, PLAY, ADMIN"
    for wrong in (0, 99):
        assert refusal(parse.enum_value, wrong, "scope", rule_pb2.Scope) == expected


def test_whole_numbers_of_a_struct_become_integers() -> None:
    config = parse.mapping(struct(seed=7, rate=0.5, nested={"sizes": [1, 2.5]}), "config")
    assert config == {"seed": 7, "rate": 0.5, "nested": {"sizes": [1, 2.5]}}
    assert isinstance(config["seed"], int)


def test_a_struct_is_bounded_and_storable() -> None:
    assert "at most 64 bytes" in refusal(parse.mapping, struct(a="x" * 99), "config", max_bytes=64)
    assert "finite" in refusal(parse.mapping, struct(a=float("nan")), "config")
    assert refusal(parse.mapping, struct(a=["\x00"]), "config").startswith("config.a[0]:")
    assert refusal(parse.mapping, struct(**{"a\x00": 1}), "config").startswith("config key:")
