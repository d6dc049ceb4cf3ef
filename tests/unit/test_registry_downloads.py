"""Which bytes a Range header asks for."""

from __future__ import annotations

import pytest

from kit.errors import RpcError
from services.registry.downloads import Span, parse_range


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=10-19", Span(10, 20)),
        ("bytes=90-", Span(90, 100)),
        ("bytes=90-1000", Span(90, 100)),
        ("bytes=-10", Span(90, 100)),
        ("bytes=-1000", Span(0, 100)),
    ],
)
def test_a_range_is_cut_to_the_file(header: str, span: Span) -> None:
    assert parse_range(header, 100) == span


@pytest.mark.parametrize(
    "header",
    ["", "bytes=-", "bytes=0-1,5-6", "lines=0-1", "bytes=5-4", "bytes=a-b", "bytes=" + "9" * 40],
)
def test_what_is_not_one_range_of_bytes_asks_for_the_whole_file(header: str) -> None:
    assert parse_range(header, 100) is None


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(header: str) -> None:
    with pytest.raises(RpcError) as refusal:
        parse_range(header, 100)
    assert refusal.value.reason == "RANGE_NOT_SATISFIABLE"
    assert refusal.value.metadata["http_status"] == "416"
