"""What people read: values, names, settings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import typer
from elodrome_sdk.cli.options import is_id, parse_object, parse_setting
from elodrome_sdk.cli.output import ago, cell, duration, number, value_at


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (False, "no"),
        (1, "1"),
        (0, "0"),
        (0.123456, "0.1235"),
        (1234567.0, "1,234,567"),
        ("[bold]not markup[/]", "[bold]not markup[/]"),
        ({"b": 2, "a": 1.5}, "a 1.5, b 2"),
        (["x", True], "x, yes"),
    ],
)
def test_values_are_written_for_people(value: object, text: str) -> None:
    assert cell(value).plain == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3_725, "1 h 02 min")],
)
def test_time_spans(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_times_of_the_api_become_ages() -> None:
    moment = datetime.now(UTC) - timedelta(minutes=5, seconds=3)
    assert ago(moment.isoformat().replace("+00:00", "Z")) == "5 min 03 s ago"
    assert ago("2026-11-21T08:00Zebra") == ""
    assert ago("doom-basic") == ""


def test_numbers_keep_the_digits_that_tell() -> None:
    assert [number(value) for value in (76.9123, -3, 123456.7)] == ["76.91", "-3", "123,457"]


def test_dotted_paths_reach_into_objects() -> None:
    item = {"opponent": {"model_name": "doom"}, "score": 3}
    assert value_at(item, "opponent.model_name") == "doom"
    assert value_at(item, "score.value") is None
    assert value_at(item, "missing.too") is None


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("learning_rate=0.001", ("learning_rate", 0.001)),
        ("game=doom", ("game", "doom")),
        ("note=a=b", ("note", "a=b")),
        ("double=true", ("double", True)),
        ("layers=[32, 64]", ("layers", [32, 64])),
    ],
)
def test_settings_are_json_where_they_can_be(text: str, setting: tuple[str, object]) -> None:
    assert parse_setting(text) == setting


@pytest.mark.parametrize("text", ["", "=1", "learning_rate"])
def test_setting_without_key_or_value_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="KEY=VALUE"):
        parse_setting(text)


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_payload_must_be_an_object(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="--payload"):
        parse_object(text, "--payload")


def test_ids_are_told_from_names() -> None:
    assert is_id("a3bb189e-8bf9-3888-9912-ace4e6543002")
    assert not is_id("doom-basic@champion")
