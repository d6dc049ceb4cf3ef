"""Waiting for a condition with a deadline, the only way a test may wait."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Result = TypeVar("Result")

_POLL_S = 0.02


async def eventually(
    condition: Callable[[], Result | Awaitable[Result]], within_s: float = 30.0
) -> Result:
    """Return the first truthy answer of `condition`; fail with its last answer after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"still {answer!r} after {within_s:g} s: {describe(condition)}")
        await asyncio.sleep(_POLL_S)


def eventually_sync(condition: Callable[[], Result], within_s: float = 30.0) -> Result:
    """Do the same outside of an event loop."""
    deadline = time.monotonic() + within_s
    never = threading.Event()
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"still {answer!r} after {within_s:g} s: {describe(condition)}")
        never.wait(_POLL_S)


def describe(condition: Callable[..., object]) -> str:
    """Return the source of a condition, so that a failure says what was waited for."""
    try:
        return inspect.getsource(condition).strip()
    except OSError:
        return repr(condition)
