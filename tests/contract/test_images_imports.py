"""An image installs its extra and nothing else: that has to be all that its programs import."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from scripts import images

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKERS = ("trainer", "referee", "games")
# Imports every module of some packages where others are not installed.
PROBE = """
import importlib, pkgutil, sys
packages, absent = (argument.split(",") for argument in sys.argv[1:])
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)
sys.meta_path.insert(0, Absent())
for package in packages:
    module = importlib.import_module(package)
    for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{package}."):
        if ".migrations" not in found.name:
            importlib.import_module(found.name)
"""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_with(extra: str) -> set[str]:
    """Return the names of all distributions that an extra of ours brings."""
    found: set[str] = set()
    pending = [("elodrome", frozenset({extra}))]
    seen = set()
    while pending:
        name, extras = pending.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found.add(name)
        for line in required(name, extras):
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": e}) for e in extras or {""}):
                pending.append((normal(requirement.name), frozenset(requirement.extras)))
    return found


def required(name: str, extras: frozenset[str]) -> Iterable[str]:
    if name != "elodrome":
        return metadata.requires(name) or ()
    optional = PROJECT["optional-dependencies"]
    return [*PROJECT["dependencies"], *(each for extra in extras for each in optional[extra])]


@pytest.mark.parametrize("image", images.IMAGES)
def test_an_image_has_what_its_programs_import(image: str) -> None:
    present = installed_with(image)
    absent = [
        module
        for module, distributions in metadata.packages_distributions().items()
        if not present & {normal(name) for name in distributions}
        and not (ROOT / module).exists()
        and module != "elodrome"
    ]
    assert ("torch" in absent) == (image not in {"worker", "local"})
    assert "pytest" in absent
    service = "executor" if image == "local" else image
    packages = ["kit", f"services.{service}", "deploy.streams", "deploy.healthy"]
    if image == "worker":
        packages = [*WORKERS]
    elif image == "local":
        packages += WORKERS
    done = subprocess.run(
        [sys.executable, "-c", PROBE, ",".join(packages), ",".join(absent)],
        env={"PYTHONPATH": f"{ROOT}:{ROOT}/gen"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
