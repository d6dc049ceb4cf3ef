"""Debian's Chromium on a real install; it may talk to that install and to nobody else."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from tests.system.conftest import stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from tests.system.stack import Stack

__all__ = ["stack"]


@pytest.fixture
def page(stack: Stack) -> Iterator[Page]:
    """A page of a fresh browser; what it asked for elsewhere and what it complained about fail."""
    program = shutil.which("chromium")
    assert program, "chromium is not installed: apt-get install chromium"
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.on(
            "request",
            lambda request: (
                None if request.url.startswith(stack.install.url) else problems.append(request.url)
            ),
        )
        yield opened
        browser.close()
    assert problems == []
