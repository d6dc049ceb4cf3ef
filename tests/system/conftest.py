"""Installs for tests: one that a test process shares, and one that a test has for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An install that every test of this process shares; a test leaves it running and ready."""
    shared = Stack(tmp_path_factory.mktemp("install")).start()
    yield shared
    shared.stop()


@pytest.fixture
def new_stack(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Return a maker of installs that are not started yet and are stopped after the test."""
    made: list[Stack] = []

    def make(name: str = "install", **environment: str) -> Stack:
        made.append(Stack(tmp_path / name, environment))
        return made[-1]

    yield make
    for one in made:
        one.stop()
