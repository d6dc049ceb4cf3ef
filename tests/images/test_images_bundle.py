"""A bundle is what is needed without a network, and shows when anybody has touched it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from helm_python import Chart

from scripts import bundle
from scripts.chart import example, merge, rendered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.images.container import Image

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "air-gapped.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A key of whoever releases; returns its fingerprint."""
    home = tmp_path_factory.mktemp("gnupg")
    home.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNUPGHOME", str(home))
        yield new_key("Releases <releases@example.com>")
        subprocess.run(["gpgconf", "--kill", "all"], check=True)


def new_key(name: str) -> str:
    made = ["gpg", "--batch", "--passphrase", "", "--status-fd", "1"]
    made += ["--quick-generate-key", name, "ed25519", "sign", "never"]
    return said(*made).split()[-1]


def said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def public_key(fingerprint: str) -> bytes:
    exported = ["gpg", "--export", fingerprint]
    return subprocess.run(exported, check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def made(
    image: Callable[[str], Image], signer: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    image("gateway")
    place = tmp_path_factory.mktemp("bundle") / "made"
    with pytest.MonkeyPatch.context() as patch:
        told = {"SERVICES": "gateway", "TAG": "test", "BUNDLE": str(place), "SIGN_BY": signer}
        for name, value in told.items():
            patch.setenv(name, value)
        subprocess.run([sys.executable, "scripts/bundle.py"], cwd=ROOT, check=True)
    (place.parent / "releases.gpg").write_bytes(public_key(signer))
    return place


def check(place: Path, key: Path) -> subprocess.CompletedProcess[str]:
    """Check a bundle with the command of the guide."""
    [command] = re.findall(r"^gpgv .*$", GUIDE, re.MULTILINE)
    command = command.replace("./releases.gpg", str(key))
    return subprocess.run(
        ["/bin/sh", "-c", command], cwd=place, check=False, capture_output=True, text=True
    )


def test_a_bundle_as_it_was_made_is_taken(made: Path) -> None:
    done = check(made, made.parent / "releases.gpg")
    assert done.returncode == 0, done.stdout + done.stderr
    names = {line.split(": ")[0] for line in done.stdout.splitlines()}
    assert {"images/gateway.tar", "sbom/gateway.cdx.json", "digests.yaml"} < names


@pytest.mark.parametrize("name", ["images/gateway.tar", "digests.yaml", "SHA256SUMS"])
def test_a_bundle_with_another_byte_is_refused(made: Path, tmp_path: Path, name: str) -> None:
    other = tmp_path / "other"
    shutil.copytree(made, other)
    with (other / name).open("r+b") as file:
        file.seek(20)
        byte = file.read(1)
        file.seek(20)
        file.write(bytes([byte[0] ^ 1]))
    assert check(other, made.parent / "releases.gpg").returncode != 0


def test_a_bundle_of_somebody_else_is_refused(made: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.gpg"
    theirs.write_bytes(public_key(new_key("Somebody <somebody@example.com>")))
    done = check(made, theirs)
    assert done.returncode != 0
    assert "No public key" in done.stderr


def test_an_image_is_read_without_a_network_and_has_the_digest_that_the_values_name(
    made: Path, tmp_path: Path
) -> None:
    archive = f"oci-archive:{made}/images/gateway.tar"
    image_id = said("unshare", "--net", "buildah", "pull", "--quiet", archive)
    digest = yaml.safe_load((made / "digests.yaml").read_text())["gateway"]["image"]["digest"]
    form = ["--type", "image", "--format", "{{.FromImageDigest}}"]
    assert said("buildah", "inspect", *form, image_id) == digest


def test_the_chart_in_it_pulls_nothing_that_the_values_do_not_name() -> None:
    digests = {service: f"sha256:{place:064x}" for place, service in enumerate(SERVICES)}
    values = merge(example("production"), {"image": {"registry": "registry.example.com"}})
    with Chart.load(bundle.CHART) as chart:
        text = "\n".join(rendered(chart, merge(values, bundle.values(digests))))
    found = set(re.findall(r"registry\.example\.com/\S+?@sha256:[0-9a-f]{64}", text))
    assert found == {
        f"registry.example.com/elodrome/{service}@{digest}" for service, digest in digests.items()
    }
    pulled = set(re.findall(r"""image: ["']?([^\s"']+)""", text))
    assert pulled <= found


SERVICES = ("gateway", "registry", "executor", "evaluator", "sessions", "worker")
