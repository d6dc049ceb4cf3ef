"""Puts a release into one directory that is carried to where there is no network, and signs it.

Variables say what goes in, beside those of `make images`, which has built the images with buildah:

  BUNDLE      the directory to make; .build/bundle if not said
  SIGN_BY     fingerprint of the GPG key that signs; required

It holds the images as OCI archives, a bill of materials of each, the chart, values that name every
image by digest, and SHA256SUMS, whose signature is that of everything else.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from helm_python import Chart

from scripts import images

CHART = images.ROOT / "helm" / "elodrome"
DIGESTS = "digests.yaml"
SUMS = "SHA256SUMS"
_FINGERPRINT = re.compile(r"[0-9A-F]{40}")
_CHUNK_BYTES = 1 << 20


def read() -> tuple[images.Request, Path, str]:
    """Return what to put where, and the key; raise ImagesError."""
    key = os.environ.get("SIGN_BY", "").upper().replace(" ", "")
    if not _FINGERPRINT.fullmatch(key):
        raise images.ImagesError(
            "SIGN_BY: must be the fingerprint of a GPG key, 40 hexadecimal digits, as"
            " `gpg --list-secret-keys` prints it"
        )
    place = Path(os.environ.get("BUNDLE") or images.ROOT / ".build" / "bundle")
    if place.exists() and any(place.iterdir()):
        raise images.ImagesError(f"BUNDLE: {place} is not empty")
    # Nothing is built here, so that no base has to be named.
    return images.read({"BASE": "0" * 64, **os.environ}), place, key


def add_image(request: images.Request, service: str, place: Path) -> str:
    """Write an image and what is in it; return its digest."""
    archive, digest = place / "images" / f"{service}.tar", place / "digest"
    name = request.name(service)
    push = ["manifest", "push", "--all"] if request.platforms else ["push"]
    written = ["--quiet", "--digestfile", digest, name, f"oci-archive:{archive}"]
    _run("buildah", *push, *written)
    for found in sorted((images.ROOT / ".build" / "images" / service).rglob(images.SBOM)):
        platform = f".{found.parent.name}" if found.parent.name != service else ""
        shutil.copy(found, place / "sbom" / f"{service}{platform}.cdx.json")
    text = digest.read_text(encoding="ascii").strip()
    digest.unlink()
    return text


def values(digests: dict[str, str]) -> dict[str, object]:
    """Return values of the chart that name images by digest."""
    return {
        ("workloads" if service == "worker" else service): {"image": {"digest": digest}}
        for service, digest in digests.items()
        if service != "local"
    }


def sign(place: Path, key: str) -> None:
    """Write the sums of all files, and the signature of the sums."""
    files = sorted(path for path in place.rglob("*") if path.is_file())
    lines = [f"{_sha256(path)}  {path.relative_to(place)}\n" for path in files]
    (place / SUMS).write_text("".join(lines), encoding="utf-8")
    _run("gpg", "--batch", "--local-user", key, "--armor", "--detach-sign", place / SUMS)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _run(*command: str | Path) -> None:
    subprocess.run(command, cwd=images.ROOT, check=True)  # noqa: S603 - ours


def main() -> None:
    """Make the bundle that the environment asks for."""
    try:
        request, place, key = read()
    except images.ImagesError as error:
        sys.exit(str(error))
    for part in ("images", "sbom"):
        (place / part).mkdir(parents=True, exist_ok=True)
    digests = {service: add_image(request, service, place) for service in request.services}
    (place / DIGESTS).write_text(yaml.safe_dump(values(digests)), encoding="utf-8")
    with Chart.load(CHART) as chart:
        chart.save(place)
    sign(place, key)
    print(f"{place}: {', '.join(digests)}, signed by {key}")


if __name__ == "__main__":
    main()
