"""Installs for tests: one that a test process shares, and one that a test has for itself."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest test first, so that the others run beside it and not after it."""
    items.sort(key=lambda item: item.path.name != "test_stack_demo.py")


@contextmanager
def _directory() -> Iterator[Path]:
    """A directory that Postgres may enter as its own user.

    Not below pytest's: every pytest that starts on this machine closes that to other users.
    """
    directory = Path(tempfile.mkdtemp(prefix="elodrome-test-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """An install that every test of this process shares; a test leaves it running and ready."""
    with _directory() as directory:
        shared = Stack(directory / "install").start()
        yield shared
        shared.stop()


@pytest.fixture
def new_stack() -> Iterator[Callable[..., Stack]]:
    """Return a maker of installs that are not started yet and are stopped after the test."""
    made: list[Stack] = []
    with _directory() as directory:

        def make(name: str = "install", **environment: str) -> Stack:
            made.append(Stack(directory / name, environment))
            return made[-1]

        yield make
        for one in made:
            one.stop()
