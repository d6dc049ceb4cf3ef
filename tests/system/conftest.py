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


# Most of their time they wait, and a minute in the end is a minute longer for all.
_LONGEST = ("test_cluster_faults.py", "test_stack_demo.py", "test_cluster_story.py")
_RINGS = ("system", "learning", "browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest tests, so that the short ones run beside them and not before."""

    def place(item: pytest.Item) -> tuple[int, int]:
        ring, name = item.path.parent.name, item.path.name
        return (
            _RINGS.index(ring) if ring in _RINGS else len(_RINGS),
            _LONGEST.index(name) if name in _LONGEST else len(_LONGEST),
        )

    items.sort(key=place)


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
