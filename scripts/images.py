"""Builds the images of docker/Dockerfile with docker or buildah, and says what is in each.

Variables say what to build:

  BASE        image to build on, by digest: name@sha256:… or the id of a local one; required
  SERVICES    some of the images instead of all
  TAG         instead of the version
  REGISTRY    put before the names
  PLATFORMS   such as linux/amd64,linux/arm64, where the builder can, instead of this machine's
  PIP_CONFIG  a pip.conf for the build alone: an index of one's own, or builds for CPUs of PyTorch
  BUILDER     docker or buildah, instead of the first that works

A software bill of materials of each image lies in .build/images/<service>/ afterwards.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[1]
IMAGES = ("gateway", "registry", "executor", "evaluator", "sessions", "worker", "local")
SBOM = "sbom.cdx.json"
_PLACE = ROOT / ".build" / "images"
_SBOM_INSIDE = f"/opt/elodrome/{SBOM}"
_BASE = re.compile(r"([^\s@]+@sha256:)?[0-9a-f]{64}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?")


class ImagesError(ValueError):
    """The images cannot be built as told; the message names the variable and its rule."""


@dataclass(frozen=True)
class Request:
    """What to build. `platforms` is empty for that of this machine, `pip_config` for none."""

    base: str
    services: Sequence[str]
    tag: str
    registry: str
    platforms: Sequence[str]
    pip_config: str

    def name(self, service: str) -> str:
        """Return the name of an image, as the chart has it."""
        prefix = f"{self.registry}/" if self.registry else ""
        return f"{prefix}elodrome/{service}:{self.tag}"

    def arguments(self, service: str, revision: str) -> list[str]:
        """Return the arguments of a build that every builder takes."""
        values = {
            "BASE": self.base,
            "SERVICE": service,
            "VERSION": version(),
            "REVISION": revision,
        }
        arguments = ["--file", "docker/Dockerfile"]
        for name, value in values.items():
            arguments += ["--build-arg", f"{name}={value}"]
        if self.platforms:
            arguments += ["--platform", ",".join(self.platforms)]
        if self.pip_config:
            arguments += ["--secret", f"id=pip,src={self.pip_config}"]
        return arguments


def read(variables: Mapping[str, str]) -> Request:
    """Return what the variables ask for; raise ImagesError."""
    request = Request(
        base=variables.get("BASE", ""),
        services=variables.get("SERVICES", "").split() or IMAGES,
        tag=variables.get("TAG") or version(),
        registry=variables.get("REGISTRY", "").rstrip("/"),
        platforms=[part for part in variables.get("PLATFORMS", "").split(",") if part],
        pip_config=variables.get("PIP_CONFIG", ""),
    )
    if not _BASE.fullmatch(request.base):
        raise ImagesError(
            f"BASE: {request.base!r} must name an image by digest, as name@sha256:… or a local"
            " one by id. A tag may be another image tomorrow"
        )
    for service in request.services:
        if service not in IMAGES:
            raise ImagesError(f"SERVICES: {service!r} is none of {', '.join(IMAGES)}")
    if not _TAG.fullmatch(request.tag) or request.tag == "latest":
        raise ImagesError(f"TAG: {request.tag!r} must be a tag other than latest")
    for platform in request.platforms:
        if not _PLATFORM.fullmatch(platform):
            raise ImagesError(f"PLATFORMS: {platform!r} must be like linux/arm64")
    if request.pip_config and not Path(request.pip_config).is_file():
        raise ImagesError(f"PIP_CONFIG: there is no file {request.pip_config}")
    return request


def version() -> str:
    """Return the version of the project."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["version"]


def revision() -> str:
    """Return the commit that is built, marked if there is more than it; empty where git is not."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return ""
    commit = _said("git", "rev-parse", "HEAD")
    return f"{commit}-dirty" if _said("git", "status", "--porcelain") else commit


def find_builder(wanted: str) -> str:
    """Return the builder that is wanted, else the first that works; raise ImagesError."""
    if wanted and wanted not in _BUILDERS:
        raise ImagesError(f"BUILDER: {wanted!r} is neither docker nor buildah")
    reasons = []
    for name in [wanted] if wanted else _BUILDERS:
        if shutil.which(name) is None:
            reasons.append(f"{name} is not installed")
        elif subprocess.run([name, "info"], capture_output=True, check=False).returncode:  # noqa: S603
            reasons.append(f"{name} is installed, but `{name} info` fails")
        else:
            return name
    raise ImagesError(f"images need docker with buildx, or buildah: {'; '.join(reasons)}")


def docker(request: Request, service: str, revision: str) -> list[list[str]]:
    """Return the commands that build an image, and that write what is in it."""
    place = _PLACE / service
    build = ["docker", "buildx", "build", *request.arguments(service, revision)]
    # What is for several platforms cannot be loaded: an archive of it can be pushed.
    several = len(request.platforms) > 1
    output = ["--output", f"type=oci,dest={place}/image.tar"] if several else ["--load"]
    return [
        [*build, "--tag", request.name(service), *output, "."],
        [*build, "--target", "sbom", "--output", f"type=local,dest={place}", "."],
    ]


def buildah(request: Request, service: str, revision: str) -> list[list[str]]:
    """Return the command that builds an image."""
    kept = "--manifest" if request.platforms else "--tag"
    arguments = request.arguments(service, revision)
    return [["buildah", "build", *arguments, kept, request.name(service), "."]]


def write_sbom(request: Request, service: str) -> None:
    """Write what is in an image that buildah built, for each platform, as docker does."""
    for platform in request.platforms or [""]:
        several = len(request.platforms) > 1
        place = _PLACE / service / (platform.replace("/", "_") if several else "")
        place.mkdir(parents=True, exist_ok=True)
        which = ["--platform", platform] if platform else []
        container = _said("buildah", "from", *which, request.name(service))
        try:
            text = _said("buildah", "run", container, "--", "cat", _SBOM_INSIDE)
        finally:
            _said("buildah", "rm", container)
        (place / SBOM).write_text(f"{text}\n", encoding="utf-8")


Builder = Callable[[Request, str, str], list[list[str]]]
_BUILDERS: dict[str, Builder] = {"docker": docker, "buildah": buildah}


def _said(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours
    return done.stdout.strip()


def main() -> None:
    """Build what the environment asks for."""
    try:
        request = read(os.environ)
        builder = find_builder(os.environ.get("BUILDER", ""))
    except ImagesError as error:
        sys.exit(str(error))
    commit = revision()
    for service in request.services:
        (_PLACE / service).mkdir(parents=True, exist_ok=True)
        for command in _BUILDERS[builder](request, service, commit):
            subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603 - ours
        if builder == "buildah":
            write_sbom(request, service)
        print(f"{request.name(service)}\t.build/images/{service}")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as failed:
        sys.exit(f"{failed.cmd[0]} failed: {' '.join(failed.cmd)}")
