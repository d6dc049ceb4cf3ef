"""Images fit what starts them: the chart, the executor, and whoever runs `make images`."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kit.settings import SERVICES
from scripts import images
from services.executor.drivers import kube_job
from services.executor.drivers.driver import Launch
from services.executor.drivers.kube_job import Placement
from tests import chart

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
BASE = f"registry.example.com/python@sha256:{'0' * 64}"


def a_worker() -> chart.Manifest:
    launch = Launch(name="run-a1", command=["python", "-m", "trainer"], environment={})
    place = Placement(namespace="workloads", image="elodrome/worker:1")
    return kube_job.job(launch, place)["spec"]["template"]["spec"]


def programs(command: list[str]) -> list[str]:
    """Return the modules that a command runs."""
    return re.findall(r"python -m ([\w.]+)", " ".join(command))


def test_whatever_the_chart_starts_has_an_image() -> None:
    for name in chart.EXAMPLES:
        values = chart.example(name)
        tagged = chart.merge(values, {part: {"image": {"digest": ""}} for part in SERVICES})
        tagged = chart.merge(tagged, {"workloads": {"image": {"digest": ""}}})
        for pod in chart.pods(chart.render(tagged)):
            [container] = pod.spec["containers"]
            built = re.search(r"(^|/)elodrome/(\w+):(.+)$", container["image"])
            assert built is not None, pod.owner
            assert built[2] in images.IMAGES, pod.owner
            assert built[3] == images.version(), pod.owner
        executor = chart.of_kind(chart.render(tagged), "Deployment")["elodrome-executor"]
        env = executor["spec"]["template"]["spec"]["containers"][0]["env"]
        worker = next(each["value"] for each in env if each["name"] == "ELODROME_WORKER_IMAGE")
        assert worker.endswith(f"elodrome/worker:{images.version()}")


def test_images_are_extras_and_the_dockerfile_knows_them() -> None:
    known = re.findall(r"^ +([a-z|]+)\)", DOCKERFILE, re.MULTILINE)
    assert sorted("|".join(known).split("|")) == sorted(images.IMAGES)
    assert set(images.IMAGES) <= PROJECT["project"]["optional-dependencies"].keys()


def test_programs_of_the_chart_are_in_the_wheel() -> None:
    commands = [
        pod.spec["containers"][0]["command"]
        for name in chart.EXAMPLES
        for pod in chart.pods(chart.objects(name))
    ]
    commands.append(a_worker()["containers"][0]["command"])
    started = {program for command in commands for program in programs(command)}
    assert {f"services.{name}" for name in SERVICES} < started
    assert {"kit.migrate", "deploy.streams", "services.gateway.bootstrap", "trainer"} < started
    for program in started:
        assert program.split(".")[0] in PACKAGES, program
        assert importlib.util.find_spec(program) is not None, program
    # `docker run IMAGE services.gateway` is the chart's command.
    assert 'ENTRYPOINT ["python", "-m"]' in DOCKERFILE
    for command in commands:
        assert command[0] in {"python", "sh"}


def test_ids_and_places_are_those_of_pods() -> None:
    [user] = re.findall(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE)
    pods = [pod.spec for pod in chart.pods(chart.objects("production"))]
    for spec in [*pods, a_worker()]:
        security = spec["securityContext"]
        ids = {security[name] for name in ("runAsUser", "runAsGroup", "fsGroup")}
        assert ids == {int(user)}
    [directories] = re.findall(
        r"install --directory --owner \d+ .* --mode \d+ (.+)$", DOCKERFILE, re.MULTILINE
    )
    writable = {
        mount["mountPath"]
        for spec in [*pods, a_worker()]
        for mount in spec["containers"][0].get("volumeMounts", ())
        if not mount.get("readOnly")
    }
    assert {*directories.split(), "/tmp", "/dev/shm"} == writable


def test_the_context_is_the_wheel_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    packages = {package.split("/")[0] for package in PACKAGES}
    files = {"constraints.txt", "pyproject.toml", "README.md", "LICENSE"}
    assert let_in == packages | files


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "BASE: '' must name an image by digest"),
        ({"BASE": "python:3.11-slim"}, "BASE: 'python:3.11-slim' must name an image by digest"),
        ({"BASE": "python@sha256:12"}, "BASE"),
        ({"BASE": BASE, "SERVICES": "gateway getaway"}, "SERVICES: 'getaway' is none of gateway"),
        ({"BASE": BASE, "TAG": "latest"}, "TAG: 'latest'"),
        ({"BASE": BASE, "TAG": "a b"}, "TAG: 'a b'"),
        ({"BASE": BASE, "PLATFORMS": "arm64"}, "PLATFORMS: 'arm64' must be like linux/arm64"),
        ({"BASE": BASE, "PIP_CONFIG": "/nowhere"}, "PIP_CONFIG: there is no file /nowhere"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(variables: dict[str, str], words: str) -> None:
    with pytest.raises(images.ImagesError, match=re.escape(words)):
        images.read(variables)


def test_a_machine_without_builders_is_told_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(images.ImagesError, match=r"docker is not installed; buildah is not inst"):
        images.find_builder("")
    lame = tmp_path / "docker"
    lame.write_text(f"#!{shutil.which('sh', path='/bin:/usr/bin')}\nexit 1\n")
    lame.chmod(0o755)
    with pytest.raises(images.ImagesError, match="`docker info` fails"):
        images.find_builder("")
    shutil.copy(lame, tmp_path / "buildah").write_text(lame.read_text().replace("1\n", "0\n"))
    assert images.find_builder("") == "buildah"
    with pytest.raises(images.ImagesError, match="BUILDER: 'kaniko' is neither"):
        images.find_builder("kaniko")


def test_make_says_what_is_missing() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/images.py"],
        cwd=ROOT,
        env={"PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("BASE: '' must name an image by digest")


@pytest.mark.parametrize("builder", [images.docker, images.buildah])
def test_a_build_is_told_everything(builder: images.Builder, tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.touch()
    variables = {
        "BASE": BASE,
        "REGISTRY": "registry.example.com/",
        "TAG": "1.2",
        "PLATFORMS": "linux/amd64,linux/arm64",
        "PIP_CONFIG": str(config),
    }
    request = images.read(variables)
    assert request.services == images.IMAGES
    command = " ".join(builder(request, "worker", "abc")[0])
    for part in (
        f"--build-arg BASE={BASE}",
        "--build-arg SERVICE=worker",
        f"--build-arg VERSION={images.version()}",
        "--build-arg REVISION=abc",
        "--platform linux/amd64,linux/arm64",
        f"--secret id=pip,src={config}",
        " registry.example.com/elodrome/worker:1.2 ",
    ):
        assert part in command
    named = set(re.findall(r"--build-arg (\w+)=", command))
    assert named == set(re.findall(r"^ARG (\w+)$", DOCKERFILE, re.MULTILINE))
