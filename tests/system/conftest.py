"""Installs for tests: one that a test process shares, and one that a test has for itself."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.platform import Platform
from tests.system.stack import ClusterStack, Stack

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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a module's tests once for each place where workers run that it names in `DRIVERS`."""
    drivers = getattr(metafunc.module, "DRIVERS", ())
    if drivers and "stack" in metafunc.fixturenames:
        metafunc.parametrize("stack", drivers, indirect=True, scope="session")


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """An install that every test of this process shares; a test leaves it running and ready."""
    kind = ClusterStack if getattr(request, "param", "process") == "kubernetes" else Stack
    with _directory() as directory:
        shared = kind(directory / "install").start()
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


@pytest.fixture
def new_platform() -> Iterator[Callable[..., Platform]]:
    """Return a maker of clusters with the chart's values, on which nothing is installed yet."""
    made: list[Platform] = []
    with _directory() as directory:

        def make(**values: Any) -> Platform:
            made.append(Platform(directory / f"cluster-{len(made)}", values))
            return made[-1]

        yield make
        for one in made:
            one.stop()


@pytest.fixture
def empty_home() -> Iterator[Path]:
    """Return a directory that Postgres may enter as its own user."""
    with _directory() as directory:
        yield directory
