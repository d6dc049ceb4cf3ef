"""What a person sees: the landing page with its status, the documentation with its forms."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.system.stack import Stack


def test_landing_page_shows_every_service_up(stack: Stack, page: Page) -> None:
    page.goto(stack.install.url)
    expect(page.locator("#overall")).to_have_text("ready")
    for part in ("registry", "executor", "evaluator", "sessions"):
        expect(page.locator("#checks")).to_contain_text(part)
    page.get_by_role("link", name="API documentation").click()
    expect(page).to_have_url(f"{stack.install.url}/docs")


def test_documentation_shows_every_route_and_finds_them(stack: Stack, page: Page) -> None:
    document = httpx.get(f"{stack.install.url}/openapi.json").json()
    count = sum(len(methods) for methods in document["paths"].values())
    page.goto(f"{stack.install.url}/docs")
    expect(page.locator("details.operation")).to_have_count(count)
    page.keyboard.press("/")
    page.keyboard.type("checkpoints download")
    visible = page.locator("details.operation:not(.hidden)")
    expect(visible).to_have_count(1)
    expect(visible).to_contain_text("/api/v1/checkpoints/{id}/download")


def test_documentation_signs_in_and_tries_a_route(stack: Stack, page: Page) -> None:
    page.goto(f"{stack.install.url}/docs")
    page.get_by_label("Address").fill("admin")
    page.get_by_label("Password").fill(stack.install.admin_password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#who")).to_contain_text("admin")
    page.goto(f"{stack.install.url}/docs#CreateModel")
    form = page.locator("#CreateModel form.try")
    form.get_by_label("Body").fill(json.dumps({"name": "from-the-browser"}))
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("status")).to_contain_text("201 in")
    expect(form.locator("pre")).to_contain_text("from-the-browser")
    form.get_by_label("Body").fill(json.dumps({"nmae": "typo"}))
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("status")).to_contain_text("422 in")
    expect(form.locator("pre")).to_contain_text("nmae")
