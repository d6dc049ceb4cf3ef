"""What a watcher of the API server hears: every change since a version, and bookmarks."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from tests.cluster.store import Object, has_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cluster.resources import Resource
    from tests.cluster.store import Change, Store

_BOOKMARK_S = 0.5
_ALL_SENT = "k8s.io/initial-events-end"


def selector(query: dict[str, str]) -> dict[str, str]:
    """Return the labels that a query asks for."""
    return dict(item.split("=", 1) for item in query.get("labelSelector", "").split(",") if item)


def problem(code: int, reason: str, message: str) -> Object:
    """Return an answer that is no success."""
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return status | {"message": message, "reason": reason, "code": code}


def watch(
    store: Store,
    resource: Resource,
    namespace: str | None,
    query: dict[str, str],
    is_down: Callable[[], bool],
) -> Iterator[bytes]:
    """Yield what one watcher hears, line by line, until its time is over."""
    labels = selector(query)
    field = query.get("fieldSelector", "").removeprefix("metadata.name=")
    wanted = (resource.name, namespace, labels, field)
    ends = time.monotonic() + float(query.get("timeoutSeconds", 3600))
    position = 0
    version = since = int(query.get("resourceVersion") or 0)
    if query.get("sendInitialEvents") == "true":
        with store.lock:
            position, version = len(store.changes), store.version
            items = store.list(resource.name, labels, namespace)
        since = version
        yield from (_line("ADDED", i) for i in items if field in {"", i["metadata"]["name"]})
        yield _bookmark(resource, version, {_ALL_SENT: "true"})
    while time.monotonic() < ends and not is_down():
        with store.lock:
            if version < store.oldest:
                yield _line("ERROR", problem(410, "Expired", "too old resource version"))
                return
            changes, position = store.changes[position:], len(store.changes)
            if not changes and not store.changed.wait(_BOOKMARK_S):
                version = store.version
                yield _bookmark(resource, version, {})
        for change in changes:
            if _is_wanted(change, *wanted, since=since):
                version = max(version, change.version)
                yield _line(change.kind, change.item)


def _is_wanted(
    change: Change,
    resource: str,
    namespace: str | None,
    labels: dict[str, str],
    name: str,
    *,
    since: int,
) -> bool:
    if change.resource != resource or change.version < since:
        return False
    try:
        metadata = change.item["metadata"]
        is_here = namespace in {None, metadata.get("namespace")} and name in {"", metadata["name"]}
        is_new = metadata["resourceVersion"] != str(since)
        return is_here and is_new and has_labels(change.item, labels)
    except (KeyError, TypeError, AttributeError):
        return True  # what a test injects may be no object at all


def _bookmark(resource: Resource, version: int, annotations: dict[str, str]) -> bytes:
    metadata = {"resourceVersion": str(version), "annotations": annotations}
    item = {"apiVersion": resource.group_version, "kind": resource.kind, "metadata": metadata}
    return _line("BOOKMARK", item)


def _line(kind: str, item: Any) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"
