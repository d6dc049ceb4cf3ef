"""JSON in and out, as the edge maps it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from elodrome.accounts.v1 import account_service_pb2, api_key_service_pb2, user_pb2
from elodrome.auth.v1 import rule_pb2
from elodrome.executor.v1 import run_pb2, run_service_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.errors import RpcError
from services.gateway import decode
from services.gateway.encode import encoder

if TYPE_CHECKING:
    from google.protobuf.message import Message


def encoded(message: Message, **options: Any) -> dict[str, Any]:
    return encoder(message.DESCRIPTOR, **options)(message)


def test_absent_optional_fields_are_null_and_enums_have_no_prefix() -> None:
    shown = encoded(user_pb2.User(id="a", role=rule_pb2.ROLE_ADMIN))
    assert shown["role"] == "ADMIN"
    assert shown["last_login_time"] is None
    assert shown["is_active"] is False


def test_times_are_rfc3339_in_utc() -> None:
    user = user_pb2.User()
    user.create_time.FromJsonString("2026-01-31T13:00:00.250+01:00")
    assert encoded(user)["create_time"] == "2026-01-31T12:00:00.250Z"


@pytest.mark.parametrize(
    ("value", "text"), [(math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")]
)
def test_numbers_json_lacks_are_strings_both_ways(value: Any, text: str) -> None:
    run = run_pb2.Run(latest_metrics={"loss": value})
    shown = encoded(run)
    assert shown["latest_metrics"] == {"loss": text}
    back = run_pb2.Run()
    decode.merge(back, {"latest_metrics": shown["latest_metrics"]})
    assert back.latest_metrics["loss"] == pytest.approx(value, nan_ok=True)


def test_secrets_are_left_out_of_records() -> None:
    session = account_service_pb2.SignInResponse(access_token="a", refresh_token="b")
    assert {"access_token", "refresh_token"}.isdisjoint(encoded(session, redact=True))
    assert encoded(session)["access_token"] == "a"


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        ({"nope": 1}, "nope", "UNKNOWN_FIELD"),
        ({"role": "admin"}, "role", "UNKNOWN_FIELD"),
        ({"email": 7}, "email", "WRONG_TYPE"),
        ({"email": "a\0b"}, "email", "BAD_TEXT"),
        ([], "body", "WRONG_TYPE"),
    ],
)
def test_a_mistaken_body_is_refused_by_the_field(body: Any, field: Any, reason: str) -> None:
    with pytest.raises(RpcError) as refused:
        decode.merge(account_service_pb2.RegisterRequest(), body)
    assert (refused.value.field, refused.value.reason) == (field, reason)


@pytest.mark.parametrize("scope", ["EVERYTHING", "read", ""])
def test_an_unknown_enum_name_is_refused_with_the_names_there_are(scope: str) -> None:
    with pytest.raises(RpcError) as refused:
        decode.merge(api_key_service_pb2.CreateApiKeyRequest(), {"scopes": ["READ", scope]})
    assert refused.value.field == "scopes[1]"
    assert "READ, TRAIN" in refused.value.message


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 1.5, True, "7"])
def test_an_integer_must_be_one_and_fit(value: Any) -> None:
    with pytest.raises(RpcError) as refused:
        decode.merge(run_service_pb2.ListRunsRequest(), {"page_size": value})
    assert refused.value.field == "page_size"


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b"[" * 100_000, b"[" * 33 + b"]" * 33, b'{"a":NaN}', b'"\\ud800"']
)
def test_what_is_not_shallow_json_is_refused(body: Any) -> None:
    with pytest.raises(RpcError):
        decode.loads(body)


def test_nesting_of_thirty_two_levels_is_allowed() -> None:
    assert decode.loads(b"[" * 32 + b"]" * 32)


def test_repeated_query_parameters_fill_a_list_and_no_single_field() -> None:
    message = run_service_pb2.ListRunsRequest()
    with pytest.raises(RpcError) as refused:
        decode.merge_text(message, "page_size", ["1", "2"])
    assert refused.value.reason == "REPEATED_FIELD"
    decode.merge_text(message, "page_size", ["7"])
    assert message.page_size == 7


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=8),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text("abc", max_size=4), json_values, max_size=5))
def test_free_form_json_comes_back_as_it_went(config: dict[str, Any]) -> None:
    run = run_pb2.Run()
    decode.merge(run, {"config": decode.loads(orjson.dumps(config))})
    assert encoded(run)["config"] == config
