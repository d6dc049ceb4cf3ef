"""What is in an image: what was asked for, told truthfully, and nothing that helps an attacker."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.images.container import Image

ROOT = Path(__file__).parents[2]
EACH = pytest.mark.parametrize("service", ["gateway", "worker"])
OWN = {"/var/lib/elodrome", "/work"}
pytestmark = pytest.mark.timeout(1200)


def files(image: Image) -> Iterator[tuple[str, Path]]:
    """Yield what is in an image: where it is there, and where it is here."""
    for path in image.root.rglob("*"):
        yield f"/{path.relative_to(image.root)}", path


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def distributions(image: Image) -> dict[str, str]:
    """Return what pip says is installed."""
    [place] = image.root.glob("opt/elodrome/lib/python3.*/site-packages")
    command = [sys.executable, "-m", "pip", "list", "--path", str(place), "--format", "json"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {normal(each["name"]): each["version"] for each in json.loads(said)}


@EACH
def test_it_says_what_it_is_and_runs_as_nobody(
    image: Callable[[str], Image], base: Image, service: str
) -> None:
    config = image(service).config
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["python", "-m"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == f"elodrome/{service}"
    assert labels["org.opencontainers.image.base.name"] == base.name
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", labels["org.opencontainers.image.revision"])
    assert f"ELODROME_COMMIT={labels['org.opencontainers.image.revision']}" in config["Env"]


@EACH
def test_what_is_in_it_is_locked_and_listed(image: Callable[[str], Image], service: str) -> None:
    found = distributions(image(service))
    text = (ROOT / ".build" / "images" / service / "sbom.cdx.json").read_text(encoding="utf-8")
    bill = json.loads(text)
    listed = {normal(each["name"]): each["version"] for each in bill["components"]}
    assert listed == found
    assert len(bill["components"]) == len(found)
    version = SchemaVersion.from_version(bill["specVersion"])
    assert JsonStrictValidator(version).validate_str(text) is None
    lock = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    locked = {normal(name): version for name, version in lock.items()}
    assert {name: v.partition("+")[0] for name, v in found.items() if name != "elodrome"} == {
        name: locked[name] for name in found if name != "elodrome"
    }
    assert ("torch" in found) == (service == "worker")
    assert not {"pip", "hatchling", "cyclonedx-bom", "pytest"} & found.keys()


@EACH
def test_nothing_is_left_of_the_build(image: Callable[[str], Image], service: str) -> None:
    root = image(service).root
    for place in ("src", "tools", "dist", "etc/pip.conf", "root/.cache", "root/.config"):
        assert not (root / place).exists(), place
    for program in ("cc", "gcc", "g++", "make", "git"):
        assert not [d for d in ("usr/bin", "usr/local/bin", "bin") if (root / d / program).exists()]


@EACH
def test_it_holds_no_secret_and_no_history(
    image: Callable[[str], Image], base: Image, service: str
) -> None:
    usual = {place for place, _ in files(base)}
    for place, path in files(image(service)):
        if place in usual:
            continue
        assert path.name not in {".git", ".env", ".netrc", ".compose", "pip.conf", "id_rsa"}, place
        if path.suffix in {".pem", ".key"}:
            assert b"PRIVATE KEY" not in path.read_bytes(), place


@EACH
def test_nobody_can_become_more(image: Callable[[str], Image], base: Image, service: str) -> None:
    def privileged(found: Image) -> set[str]:
        return {
            place
            for place, path in files(found)
            if stat.S_ISREG(mode := path.lstat().st_mode) and mode & (stat.S_ISUID | stat.S_ISGID)
        }

    assert privileged(image(service)) <= privileged(base)


@EACH
def test_its_user_owns_the_places_to_write_and_nothing_else(
    image: Callable[[str], Image], base: Image, service: str
) -> None:
    def writable(found: Image) -> set[str]:
        places = set()
        for place, path in files(found):
            status = path.lstat()
            is_own = 10001 in {status.st_uid, status.st_gid}
            if is_own or (status.st_mode & stat.S_IWOTH and not stat.S_ISLNK(status.st_mode)):
                places.add(place)
        return places

    assert writable(image(service)) - writable(base) == OWN
