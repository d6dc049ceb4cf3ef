"""Where a trace stands is kept, passed on and taken back as the W3C's Trace Context has it."""

from __future__ import annotations

import re

import pytest

from kit import trace

CAME = f"00-{'4b' * 16}-{'0a' * 8}-01"


class Recorder:
    """Keeps what a collector would get."""

    def __init__(self) -> None:
        self.parents: list[str] = []
        self.failures: list[str] = []
        self.traceparent = f"00-{'4b' * 16}-{'0b' * 8}-01"
        self.is_closed = False

    def start(self, _name: str, _kind: trace.Kind, parent: str) -> Recorder:
        self.parents.append(parent)
        return self

    def end(self, failure: str) -> None:
        self.failures.append(failure)

    def close(self) -> None:
        self.is_closed = True


def test_what_came_is_passed_on_where_nobody_collects() -> None:
    with trace.within(""), trace.begin("work", "server", CAME):
        assert trace.current.get() == CAME
        assert trace.trace_id() == "4b" * 16


@pytest.mark.parametrize(
    "came",
    [
        "",
        "00",
        CAME.upper(),
        f"{CAME}-01",
        f"01{CAME[2:]}",
        f"00-{'0' * 32}-{'0a' * 8}-01",
        f"00-{'4b' * 16}-{'0' * 16}-01",
        f"{CAME}\n",
    ],
)
def test_a_trace_begins_where_what_came_is_none(came: str) -> None:
    with trace.within(""):
        stands = trace.adopt(came)
        assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", stands)
        assert trace.read(stands) == stands
        assert trace.trace_id() != "4b" * 16
        assert trace.adopt(came) != stands
    with trace.within(came):
        assert not trace.trace_id()


def test_a_block_gives_back_the_trace_it_found() -> None:
    with trace.within(CAME):
        with trace.within(""):
            assert trace.current.get() != CAME
        assert trace.current.get() == CAME


def test_a_collector_gets_the_work_and_how_it_ended() -> None:
    recorder = Recorder()
    end = trace.collect(recorder)
    try:
        with trace.within(""):
            with trace.begin("work", "server", CAME):
                # What is called from here on hangs below this span.
                assert trace.current.get() == recorder.traceparent
            with pytest.raises(LookupError), trace.begin("work", "consumer", "nonsense"):
                raise LookupError
            trace.begin("work", "internal", CAME).end("UNAVAILABLE")
    finally:
        end()
    assert recorder.parents == [CAME, "", CAME]
    assert recorder.failures == ["", "LookupError()", "UNAVAILABLE"]
    assert recorder.is_closed
    with trace.within(""), trace.begin("work", "server", CAME):
        assert len(recorder.parents) == 3
