"""The objects of a cluster and every change to them, by a version that only grows."""

from __future__ import annotations

import base64
import copy
import itertools
import threading
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from tests import crds

if TYPE_CHECKING:
    from collections.abc import Callable

Object = dict[str, Any]


class StatusError(Exception):
    """An answer of the API server that is no success."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class Change(NamedTuple):
    """`kind` is ADDED, MODIFIED or DELETED; `item` is the object as it was then."""

    version: int
    resource: str
    kind: str
    item: Object


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """Objects by resource, such as `pods`, namespace and name.

    A namespace of None stands for whichever holds the name, and for all of them in a list. Safe
    for threads; `lock` may be held. `is_strict` is whether objects have to fit their schemas.
    """

    def __init__(self, *, is_strict: bool = True) -> None:
        self._is_strict = is_strict
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.changes: list[Change] = []
        self.version = 1
        self.oldest = 0
        self._objects: dict[str, dict[tuple[str, str], Object]] = {}
        self._suffixes = itertools.count()

    def create(self, resource: str, item: Object) -> Object:
        """Store an object that fits the schema and is new."""
        item = copy.deepcopy(item)
        metadata = item["metadata"]
        with self.lock:
            if "name" not in metadata:
                metadata["name"] = f"{metadata.pop('generateName')}{next(self._suffixes):05d}"
            if _key(item) in self._objects.get(resource, {}):
                raise StatusError(409, "AlreadyExists", f'{resource} "{metadata["name"]}" exists')
            metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now(), "generation": 1}
            return self._put(resource, item, "ADDED")

    def get(self, resource: str, name: str, namespace: str | None = None) -> Object:
        """Return an object of the caller's own."""
        with self.lock:
            return copy.deepcopy(self._find(resource, name, namespace))

    def list(
        self,
        resource: str,
        labels: dict[str, str] | None = None,
        namespace: str | None = None,
    ) -> list[Object]:
        """Return the objects that have all the labels."""
        with self.lock:
            items = [
                item
                for (place, _), item in self._objects.get(resource, {}).items()
                if namespace in {None, place} and has_labels(item, labels or {})
            ]
            return [copy.deepcopy(item) for item in items]

    def update(
        self,
        resource: str,
        name: str,
        change: Callable[[Object], object],
        namespace: str | None = None,
    ) -> Object:
        """Change an object in place; one that stays as it was is not a change."""
        with self.lock:
            before = self.get(resource, name, namespace)
            after = copy.deepcopy(before)
            change(after)
            if after == before:
                return before
            if after.get("spec") != before.get("spec"):
                after["metadata"]["generation"] = before["metadata"]["generation"] + 1
            return self._put(resource, after, "MODIFIED")

    def remove(self, resource: str, name: str, namespace: str | None = None) -> None:
        """Forget an object that may be gone already."""
        with self.lock:
            try:
                item = self._find(resource, name, namespace)
            except StatusError:
                return
            del self._objects[resource][_key(item)]
            self._tell(resource, item, "DELETED")

    def owned(self, uid: str) -> list[tuple[str, Object]]:
        """Return what an object owns, each with its resource."""
        with self.lock:
            return [
                (resource, copy.deepcopy(item))
                for resource, items in self._objects.items()
                for item in items.values()
                if any(owner["uid"] == uid for owner in item["metadata"].get("ownerReferences", ()))
            ]

    def tell(self, resource: str, kind: str, item: Object) -> None:
        """Have the watchers of a resource hear anything at all."""
        with self.lock:
            self.changes.append(Change(self.version, resource, kind, item))
            self.changed.notify_all()

    def forget_changes(self) -> None:
        """Make every version that anybody knows too old to watch from."""
        with self.lock:
            self.version += 1
            self.oldest = self.version
            self.changes.clear()
            self.changed.notify_all()

    def _find(self, resource: str, name: str, namespace: str | None) -> Object:
        for (place, held), item in self._objects.get(resource, {}).items():
            if held == name and namespace in {None, place}:
                return item
        raise StatusError(404, "NotFound", f'{resource} "{name}" not found')

    def _put(self, resource: str, item: Object, kind: str) -> Object:
        for name, text in item.pop("stringData", {}).items():
            item.setdefault("data", {})[name] = base64.b64encode(text.encode()).decode()
        if self._is_strict:
            crds.validate(item, crds.VERSIONS[-1])
        self._objects.setdefault(resource, {})[_key(item)] = item
        self._tell(resource, item, kind)
        return copy.deepcopy(item)

    def _tell(self, resource: str, item: Object, kind: str) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.changes.append(Change(self.version, resource, kind, copy.deepcopy(item)))
        self.changed.notify_all()


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def has_labels(item: Object, labels: dict[str, str]) -> bool:
    held = item.get("metadata", {}).get("labels") or {}
    return all(held.get(name) == value for name, value in labels.items())


def merge(into: Object, patch: Object) -> None:
    """Apply a JSON merge patch (RFC 7386)."""
    for name, value in patch.items():
        if value is None:
            into.pop(name, None)
        elif isinstance(value, dict) and isinstance(into.get(name), dict):
            merge(into[name], value)
        else:
            into[name] = value


def apply(into: Object, last: Object, wanted: Object) -> None:
    """Bring an object to what its applier wants: what it wanted `last` and no more goes away.

    Lists are one value each, which holds where nobody else applies parts of one.
    """
    for name in last.keys() - wanted.keys():
        into.pop(name, None)
    for name, value in wanted.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            before = last.get(name)
            apply(into[name], before if isinstance(before, dict) else {}, value)
        else:
            into[name] = copy.deepcopy(value)
