"""Server-sent events come out the same however the network cuts the bytes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from elodrome_sdk.sse import EventParser, ServerEvent, split_lines
from hypothesis import given
from hypothesis import strategies as st

STREAM = (
    "\ufeffretry: 2000\n\n"
    ": heartbeat\n\n"
    'id: 1\nevent: metrics\ndata: {"a": "\u2028\u00e9"}\n\n'
    "data: two\r\ndata: lines\r\n\r\n"
    "id: 3\revent: done\rdata\r\r"
    "id: 4\n\n"
    "event: cut\ndata: off"
).encode()

EVENTS = [
    ServerEvent("1", "metrics", '{"a": "\u2028\u00e9"}'),
    ServerEvent("1", "message", "two\nlines"),
    ServerEvent("3", "done", ""),
]


def parse(*chunks: bytes) -> tuple[list[ServerEvent], EventParser]:
    parser = EventParser()
    return list(parser.parse(chunks)), parser


def test_stream_is_parsed_as_the_standard_says() -> None:
    events, parser = parse(STREAM)
    assert events == EVENTS
    assert parser.retry_s == 2
    # An id without data moves the place to resume at, and dispatches nothing.
    assert parser.last_event_id == "4"


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_cuts_do_not_matter(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[begin:end] for begin, end in pairwise(places)]
    assert parse(*chunks)[0] == EVENTS


@pytest.mark.parametrize(
    "line", [b"id: a\0b\n", b"retry: soon\n", b"nonsense\n", b"retry: \xc2\xb2\n"]
)
def test_what_makes_no_sense_is_ignored(line: bytes) -> None:
    events, parser = parse(b"id: 7\n", line, b"data: x\n\n")
    assert events == [ServerEvent("7", "message", "x")]
    assert parser.retry_s is None


def test_parser_goes_on_from_where_it_was_told() -> None:
    parser = EventParser("41")
    assert list(parser.parse([b"data: x\n\n"])) == [ServerEvent("41", "message", "x")]


def test_restart_drops_what_was_cut_off() -> None:
    parser = EventParser()
    list(parser.parse([b"id: 1\ndata: first\n\n", b"event: late\ndata: half"]))
    list(parser.parse([b"event: late\ndata: whole line\n"]))
    parser.restart()
    assert list(parser.parse([b"data: second\n\n"])) == [ServerEvent("1", "message", "second")]


def test_a_lone_carriage_return_at_the_end_ends_a_line() -> None:
    assert list(split_lines([b"a\r", b"\nb\r"])) == ["a", "b"]
