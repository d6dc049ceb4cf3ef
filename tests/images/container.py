"""Runs what is in an image as a cluster would: read-only, as its user, with a few places to write.

A mount and pid namespace with chroot, no container engine: what an image lacks shows all the same.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Image:
    """A built image: its files below `root`, which nobody may change, and its configuration."""

    name: str
    root: Path
    config: Mapping[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        """Variables of every process, unless its pod says otherwise."""
        return dict(pair.split("=", 1) for pair in self.config["Env"])

    @property
    def user(self) -> str:
        """Numbers of the user and the group."""
        return self.config["User"]


@dataclass(frozen=True)
class Pod:
    """How to start a container. `files` are directories of this machine by where they appear."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    writable: Sequence[str] = ("/tmp",)
    directory: str = ""


def start(image: Image, pod: Pod, **options: Any) -> subprocess.Popen[str]:
    """Start a container; all its processes end with it, and it with this process' signal."""
    variables = image.environment | dict(pod.environment)
    entry = [f"{name}={value}" for name, value in variables.items()]
    group = image.user.partition(":")[2]
    inside = ["chroot", f"--userspec={image.user}", f"--groups={group}", str(image.root)]
    inside += ["env", "--ignore-environment"]
    inside += [f"--chdir={pod.directory or image.config['WorkingDir']}", *entry, *pod.command]
    script = "\n".join(["set -e", *_mounts(image, pod), f"exec {shlex.join(inside)}"])
    apart = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
    return subprocess.Popen([*apart, "sh", "-c", script], text=True, **options)


def run(image: Image, pod: Pod, *, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a container to its end."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    child = start(image, pod, **pipes)
    try:
        said, complained = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        raise
    return subprocess.CompletedProcess(pod.command, child.returncode, said, complained)


def _mounts(image: Image, pod: Pod) -> list[str]:
    root = shlex.quote(str(image.root))
    user, _, group = image.user.partition(":")
    lines = [
        f"mount --bind {root} {root}",
        f"mount -t proc proc {root}/proc",
        f"mount --rbind /dev {root}/dev",
        # What a pod mounts needs a place, which an engine makes and an image need not have.
        f"mount -t tmpfs -o mode=755 run {root}/run",
    ]
    own = f"mount -t tmpfs -o mode=770,uid={user},gid={group} own"
    lines += [f"{own} {root}{place}" for place in pod.writable]
    for place, directory in pod.files.items():
        at = f"{root}{place}"
        lines.append(f"mkdir -p {at} && mount --bind {shlex.quote(str(directory))} {at}")
    # Only the image itself: what was mounted in it stays as it is.
    return [*lines, f"mount -o remount,bind,ro {root}"]


def inspect(container: str) -> Mapping[str, Any]:
    """Return the configuration of the image that a container of buildah was made from."""
    said = subprocess.run(
        ["buildah", "inspect", container], check=True, capture_output=True, text=True
    )
    return json.loads(said.stdout)["OCIv1"]["config"]


def is_possible() -> str:
    """Return what keeps this machine from building and starting images; nothing if it can."""
    if os.geteuid() != 0:
        return "images are built and started by root"
    for program in ("buildah", "debootstrap"):
        if shutil.which(program) is None:
            return f"apt-get install {program}"
    return ""
