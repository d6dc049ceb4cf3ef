"""What a container finds in its environment and its file system: a directory for each volume.

An image stands for this very machine, so the paths that volumes are mounted at are replaced by
those directories wherever a command or a variable names them. A path that exists here is one of
the image and stays. Names of Services become what leads to their pods, or, where no NetworkPolicy
lets the pod have them, to nobody.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.cluster.dns import NOBODY, View
from tests.cluster.store import Object, StatusError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.dns import Names
    from tests.cluster.store import Store

_REFERENCE = re.compile(r"\$(?:\$|\((\w+)\))")
_SERVICE = re.compile(r"(?<![\w/.-])([\w-]+(?:\.[\w-]+){1,2}\.svc)(?::(\d+))?(?![\w.-])")
_FOR_GRPC = "_ADDRESS"
_ASKED = re.compile(r"^dns://[^/]+/")
_ANNOTATION = re.compile(r"metadata\.annotations\['([^']+)'\]")
_EVERY_ADDRESS = "0.0.0.0"
_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


class Surroundings(NamedTuple):
    """What a container is started in."""

    command: list[str]
    environment: dict[str, str]
    directory: str


class Volumes:
    """The volumes of a pod below `place`, and what they make of its container.

    Where they are `is_mounted`, their paths are what they are called.
    """

    def __init__(
        self, store: Store, names: Names, pod: Object, place: Path, *, is_mounted: bool = False
    ) -> None:
        self._store = store
        self._names = names
        self._pod = pod
        self._namespace = pod["metadata"]["namespace"]
        self._container = pod["spec"]["containers"][0]
        self._place = place
        self._is_mounted = is_mounted
        self._view = View(names, pod)

    def close(self) -> None:
        """Stop the DNS of the pod."""
        self._view.stop()

    def surroundings(self) -> Surroundings:
        """Return how the container starts; raise StatusError for a Secret that is not there."""
        for volume in self._pod["spec"].get("volumes", ()):
            self._fill(volume)
        environment: dict[str, str] = {}
        for item in self._container.get("env", ()):
            value = self._value(item)
            if "value" in item:
                value = self._reached(item["name"], self._mapped(_expanded(value, environment)))
            environment[item["name"]] = value
        words = [*self._container.get("command", ()), *self._container.get("args", ())]
        command = [self._here(self._mapped(_expanded(word, environment))) for word in words]
        directory = self._mapped(self._container.get("workingDir", str(self._place)))
        return Surroundings(command, environment, directory)

    def _fill(self, volume: Object) -> None:
        directory = self._place / volume["name"]
        directory.mkdir(parents=True, exist_ok=True)
        for name, content, mode in self._files(volume):
            path = directory / name
            path.touch(mode=mode)
            path.write_bytes(content)

    def _files(self, volume: Object) -> Iterator[tuple[str, bytes, int]]:
        sources = volume.get("projected", {}).get("sources", ())
        mode = volume.get("projected", {}).get("defaultMode", 0o644)
        if "secret" in volume:
            secret = volume["secret"]
            sources, mode = [{"secret": {**secret, "name": secret["secretName"]}}], 0o440
        for source in sources:
            wanted = source["secret"]
            data = self._secret(wanted["name"])
            for item in wanted.get("items") or [{"key": key, "path": key} for key in data]:
                if item["key"] not in data:
                    missing = f"references non-existent secret key: {item['key']}"
                    raise StatusError(404, "NotFound", missing)
                yield item["path"], data[item["key"]], mode

    def _value(self, item: Object) -> str:
        if "value" in item:
            return item["value"]
        source = item["valueFrom"]
        if "secretKeyRef" in source:
            reference = source["secretKeyRef"]
            return self._secret(reference["name"])[reference["key"]].decode()
        path = source["fieldRef"]["fieldPath"]
        if found := _ANNOTATION.fullmatch(path):
            return self._pod["metadata"]["annotations"][found[1]]
        value: Any = self._pod
        for part in path.split("."):
            value = value[part]
        return value

    def _secret(self, name: str) -> dict[str, bytes]:
        secret = self._store.get("secrets", name, self._namespace)
        return {key: base64.b64decode(text) for key, text in secret.get("data", {}).items()}

    def _mapped(self, text: str) -> str:
        for mount in () if self._is_mounted else self._container.get("volumeMounts", ()):
            path = rf"(?<![\w./-]){re.escape(mount['mountPath'])}(/[^\s\"':;,]*)?(?![\w-])"
            name = mount["name"]
            text = re.sub(path, lambda found, name=name: self._directory(found, name), text)
        return text

    def _directory(self, found: re.Match[str], name: str) -> str:
        below = found[1] or ""
        path = Path(found[0])
        # The directory of a file that is yet to be written says as much.
        is_deep = below.count("/") > 1
        if (below and path.exists()) or (is_deep and path.parent.exists()):
            return found[0]
        return f"{self._place / name}{below}"

    def _reached(self, name: str, value: str) -> str:
        """Return a variable as who reads it finds the way: gRPC by asking the DNS of this pod."""
        if value == _EVERY_ADDRESS:
            return self._pod["status"]["podIP"]
        # Whoever starts other pods hands the addresses on that it was given.
        plain = _ASKED.sub("", value)
        found = _SERVICE.fullmatch(plain)
        if name.endswith(_FOR_GRPC) and found and found[2]:
            return f"dns://{self._view.address}/{plain}"
        return self._here(value)

    def _here(self, word: str) -> str:
        """Return text with the address of one pod for the name of a Service."""
        return _SERVICE.sub(self._address, word)

    def _address(self, found: re.Match[str]) -> str:
        name, port = found[1], f":{found[2]}" if found[2] else ""
        addresses = self._names.resolve(name)
        if addresses is None:
            return found[0]
        if not self._names.may_reach(self._pod, name, int(found[2] or 0)):
            return f"{NOBODY}{port}"
        if not addresses:
            raise StatusError(503, "ServiceUnavailable", f"{name} has no pod that is ready")
        return f"{addresses[0]}{port}"


def size_bytes(quantity: str) -> int:
    """Return a quantity of memory in bytes."""
    unit = _UNITS.get(quantity[-2:], 1)
    return int(quantity.removesuffix(quantity[-2:]) if unit > 1 else quantity) * unit


def _expanded(text: str, variables: dict[str, str]) -> str:
    """Put in the values of $(NAME) as the kubelet does; $$ is a dollar."""
    return _REFERENCE.sub(
        lambda found: "$" if found[1] is None else variables.get(found[1], found[0]), text
    )
