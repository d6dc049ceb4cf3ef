"""Images of the gateway and of the workers, built as `make images` builds them, for these tests.

They are left to those who ask for them, `make test-images`: a build takes minutes.
"""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.images import container
from tests.images.container import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
# What a Debian with the Python of this environment is called.
_SUITES = {(3, 11): "bookworm", (3, 13): "trixie"}
_BUILT = ("gateway", "worker")
_TAG = "test"


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return None if any("tests/images" in argument for argument in config.args) else True


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A place for images that no other build sees, gone with the tests."""
    if reason := container.is_possible():
        pytest.fail(reason)
    place = tmp_path_factory.mktemp("storage")
    config = place / "storage.conf"
    config.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{place}/graph"\nrunroot = "{place}/run"\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_STORAGE_CONF", str(config))
        patch.setenv("BUILDAH_ISOLATION", "chroot")
        yield
        buildah("rm", "--all")
        buildah("rmi", "--all", "--force")


@pytest.fixture(scope="session")
def base(storage: None, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The smallest Debian with the Python of this environment; its name is its id."""
    suite = _SUITES.get(sys.version_info[:2])
    if suite is None:
        pytest.skip(f"no release of Debian has Python {sys.version_info[0]}.{sys.version_info[1]}")
    tree = tmp_path_factory.mktemp("base") / "root"
    packages = "--include=python3,python3-venv,ca-certificates"
    # What it mounts is gone with it, even if it is killed.
    apart = ["unshare", "--mount", "--propagation", "private"]
    run(*apart, "debootstrap", "--variant=minbase", packages, suite, str(tree))
    made = buildah("from", "scratch")
    buildah("add", "--quiet", made, str(tree), "/")
    image_id = buildah("commit", "--quiet", made, "elodrome-base")
    return Image(image_id, tree, container.inspect(made))


@pytest.fixture(scope="session")
def pip_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A pip.conf that knows the wheels which pip of this machine brings, and no index at all."""
    wheels = tmp_path_factory.mktemp("wheels")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], "cyclonedx-bom", "hatchling", "torch==2.13.0"]
    for extra in ("service", *_BUILT):
        wanted += [each for each in extras[extra] if not each.startswith("elodrome[")]
    pip = [sys.executable, "-m", "pip", "--quiet", "download", "--only-binary", ":all:"]
    run(*pip, "--constraint", str(ROOT / "constraints.txt"), "--dest", str(wheels), *wanted)
    serve = functools.partial(_Quiet, directory=str(wheels))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = wheels.parent / "pip.conf"
        place = f"http://127.0.0.1:{server.server_port}/"
        config.write_text(f"[global]\nno-index = true\nfind-links = {place}\n")
        yield config
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="session")
def image(base: Image, pip_config: Path) -> Callable[[str], Image]:
    """Build images, each once, and return what is in them."""

    @functools.cache
    def built(service: str) -> Image:
        told = {"BASE": base.name, "SERVICES": service, "TAG": _TAG, "BUILDER": "buildah"}
        told["PIP_CONFIG"] = str(pip_config)
        subprocess.run(
            [sys.executable, "scripts/images.py"], cwd=ROOT, env=os.environ | told, check=True
        )
        made = buildah("from", f"elodrome/{service}:{_TAG}")
        return Image(service, Path(buildah("mount", made)), container.inspect(made))

    return built


def run(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, (
        f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    )
    return done.stdout.strip()


def buildah(*command: str) -> str:
    return run("buildah", *command)
