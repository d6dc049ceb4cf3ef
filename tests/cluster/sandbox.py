"""A pod that is not trusted: its container under bubblewrap, as its security context says.

The container has processes, users and directories of its own, and of this machine it sees what an
image would bring. The pod has a network of its own, which holds nobody else: what comes in at its
address is passed on by `tests.cluster.pause`.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.volumes import size_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.store import Object
    from tests.cluster.volumes import Surroundings

RUNTIME_CLASS = "gvisor"

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
_PAUSE = Path(__file__).with_name("pause.py")


def listeners(container: Object, address: str) -> list[socket.socket]:
    """Return a socket at the pod's address for each port that its container names."""
    ports = [port["containerPort"] for port in container.get("ports", ())]
    return [socket.create_server((address, port)) for port in ports]


def command(
    item: Object, inside: Surroundings, place: Path, doors: list[socket.socket]
) -> list[str]:
    """Return what runs the container of a pod whose volumes are below `place`."""
    container = ["bwrap", *_container(item, inside, place), "--", *inside.command]
    network = ["--unshare-user", "--unshare-net", "--dev-bind", "/", "/", "--die-with-parent"]
    fds = ",".join(str(door.fileno()) for door in doors)
    return ["bwrap", *network, "--", sys.executable, "-I", "-S", str(_PAUSE), fds, *container]


def _container(item: Object, inside: Surroundings, place: Path) -> Iterator[str]:
    spec = item["spec"]
    [container] = spec["containers"]
    rights = container["securityContext"]
    yield from ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts")
    yield from ("--as-pid-1", "--die-with-parent", "--clearenv")
    yield from ("--uid", str(spec["securityContext"].get("runAsUser", 0)))
    yield from ("--gid", str(spec["securityContext"].get("runAsGroup", 0)))
    yield from ("--hostname", spec.get("hostname", item["metadata"]["name"]))
    dropped = rights.get("capabilities", {}).get("drop", [])
    yield from ("--cap-drop" if dropped == ["ALL"] else "--cap-add", "ALL")
    yield from ("--proc", "/proc", "--dev", "/dev")
    for volume in spec["volumes"]:
        yield from _volume(volume, container, place)
    for path in _image():
        yield from ("--ro-bind", path, path)
    if rights.get("readOnlyRootFilesystem"):
        yield from ("--remount-ro", "/")
    for name, value in inside.environment.items():
        yield from ("--setenv", name, value)
    yield from ("--chdir", inside.directory)


def _volume(volume: Object, container: Object, place: Path) -> Iterator[str]:
    [path] = [
        mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == volume["name"]
    ]
    if volume.get("emptyDir", {}).get("medium") == "Memory":
        size = str(size_bytes(volume["emptyDir"]["sizeLimit"]))
        yield from ("--size", size, "--tmpfs", path)
    else:
        yield from ("--bind", str(place / volume["name"]), path)


def _image() -> list[str]:
    """Return what an image would hold: the system's programs, Python, and this repository."""
    python = [sys.base_prefix, sys.prefix, *sys.path]
    found = {str(Path(path).resolve()) for path in python if Path(path).is_absolute()}
    # A venv is what its own path says: its Python finds its packages from there.
    found |= {sys.prefix, *_SYSTEM}
    kept = sorted(path for path in found if Path(path).exists())
    return [path for path in kept if not any(_is_below(path, other) for other in kept)]


def _is_below(path: str, other: str) -> bool:
    return Path(other) in Path(path).parents and not Path(path).is_symlink()
