"""The objects of a cluster and every change to them, by a version that only grows."""

from __future__ import annotations

import copy
import itertools
import threading
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.cluster import schemas

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
    """Objects by resource, such as `pods`, and name. Safe for threads; `lock` may be held."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.changes: list[Change] = []
        self.version = 1
        self.oldest = 0
        self._objects: dict[str, dict[str, Object]] = {}
        self._suffixes = itertools.count()

    def create(self, resource: str, item: Object) -> Object:
        """Store an object that fits the schema and is new."""
        item = copy.deepcopy(item)
        metadata = item["metadata"]
        with self.lock:
            if "name" not in metadata:
                metadata["name"] = f"{metadata.pop('generateName')}{next(self._suffixes):05d}"
            if metadata["name"] in self._objects.get(resource, {}):
                raise StatusError(409, "AlreadyExists", f'{resource} "{metadata["name"]}" exists')
            metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now(), "generation": 1}
            return self._put(resource, item, "ADDED")

    def get(self, resource: str, name: str) -> Object:
        """Return an object of the caller's own."""
        with self.lock:
            found = self._objects.get(resource, {}).get(name)
            if found is None:
                raise StatusError(404, "NotFound", f'{resource} "{name}" not found')
            return copy.deepcopy(found)

    def list(self, resource: str, labels: dict[str, str] | None = None) -> list[Object]:
        """Return the objects that have all the labels."""
        with self.lock:
            items = list(self._objects.get(resource, {}).values())
        return [copy.deepcopy(item) for item in items if has_labels(item, labels or {})]

    def update(self, resource: str, name: str, change: Callable[[Object], None]) -> Object:
        """Change an object in place; one that stays as it was is not a change."""
        with self.lock:
            before = self.get(resource, name)
            after = copy.deepcopy(before)
            change(after)
            return before if after == before else self._put(resource, after, "MODIFIED")

    def remove(self, resource: str, name: str) -> None:
        """Forget an object that may be gone already."""
        with self.lock:
            item = self._objects.get(resource, {}).pop(name, None)
            if item is not None:
                self._tell(resource, item, "DELETED")

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

    def _put(self, resource: str, item: Object, kind: str) -> Object:
        if item["apiVersion"] in {"v1", "batch/v1"}:
            schemas.check(item, schemas.VERSIONS[-1])
        self._objects.setdefault(resource, {})[item["metadata"]["name"]] = item
        self._tell(resource, item, kind)
        return copy.deepcopy(item)

    def _tell(self, resource: str, item: Object, kind: str) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.changes.append(Change(self.version, resource, kind, copy.deepcopy(item)))
        self.changed.notify_all()


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
