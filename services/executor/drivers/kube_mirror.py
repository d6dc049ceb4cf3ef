"""A copy of the objects of one kind, kept up to date by list and watch."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog

from kit.gauges import Pace, divergence
from services.executor.drivers.kube_api import AwayError, RefusedError
from services.executor.drivers.kube_job import INDEX_LABEL, NAME_LABEL, SELECTOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.executor.drivers.kube_api import KubeApi
    from services.executor.drivers.kube_job import Manifest

_PAGE = "500"
_WATCH_S = 240
_SILENCE_S = 300.0
_RESYNC_S = 600.0
_BACKOFF_S, _MAX_BACKOFF_S = 0.5, 10.0
_BOOKMARK_S = 60.0
"""How often the server says at least that nothing has changed."""

logger = structlog.get_logger("executor.kubernetes")


class _ExpiredError(Exception):
    """The server no longer knows the changes since our version."""


@dataclass(frozen=True)
class Entry:
    """The newest that is known of an object: what is needed of it, and whether it is gone since."""

    object: Manifest
    version: int
    is_gone: bool = False


class Mirror:
    """Objects of a kind by the attempt that they belong to, as far as they were heard of.

    Where several learn together, the pod of the first is that of the attempt.
    Events may come twice, late or in disorder: only a newer version of an object counts. An object
    that cannot be read is left out, and what was known of it before stays.
    """

    def __init__(self, api: KubeApi, path: str, changed: Callable[[], None]) -> None:
        self._api = api
        self._path = path
        self._changed = changed
        self._entries: dict[str, Entry] = {}
        self._listed_version = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        loop = f"cluster {path.rpartition('/')[2]}"
        self._pace = Pace(loop, _BOOKMARK_S)
        self._away_since: float | None = None
        divergence.labels(loop).set_function(self.away_s)
        self.is_synced = False

    def start(self) -> None:
        """Begin to follow, in a thread that does not keep the process alive."""
        threading.Thread(target=self._follow, name=f"mirror {self._path}", daemon=True).start()

    def end(self) -> None:
        """Stop following; the thread ends with its connection at the latest."""
        self._ended.set()

    def away_s(self) -> float:
        """Return for how long nothing has been heard of what may have changed."""
        since = self._away_since
        return 0.0 if since is None else time.monotonic() - since

    def _reached(self) -> None:
        self._away_since = None
        self._pace.passed()

    def _lost(self) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()

    def get(self, name: str) -> Entry | None:
        """Return what is known of an attempt's object."""
        return self._entries.get(name)

    def others(self, name: str) -> list[Entry]:
        """Return what is known of the pods of an attempt beside its first."""
        with self._lock:
            return [held for key, held in self._entries.items() if key.startswith(f"{name}/")]

    def put(self, item: Manifest) -> None:
        """Take over an object that the server has just returned."""
        self._apply(item, is_gone=False)

    def look(self, name: str) -> None:
        """Ask the server for an attempt's object; raises what `KubeApi.get` does."""
        selector = f"{SELECTOR},{NAME_LABEL}={name}"
        for item in self._api.get(self._path, labelSelector=selector).get("items") or []:
            self._apply(item, is_gone=False, is_listed=True)

    def forget(self, name: str) -> None:
        """Drop what is known of an attempt."""
        with self._lock:
            for key in [key for key in self._entries if key.split("/")[0] == name]:
                del self._entries[key]

    def _follow(self) -> None:
        backoff_s = _BACKOFF_S
        while not self._ended.is_set():
            try:
                version = self._list()
                backoff_s = _BACKOFF_S
                self._watch(version, until=time.monotonic() + _RESYNC_S)
            except _ExpiredError:
                logger.info("watch_expired", path=self._path)
            except (AwayError, RefusedError) as error:
                self._lost()
                logger.warning("list_failed", path=self._path, error=str(error))
                self._ended.wait(backoff_s)
                backoff_s = min(2 * backoff_s, _MAX_BACKOFF_S)

    def _list(self) -> str:
        items: list[Any] = []
        following = ""
        while True:
            page = {"limit": _PAGE, **({"continue": following} if following else {})}
            answer = self._api.get(self._path, labelSelector=SELECTOR, **page)
            items += answer.get("items") or []
            following = answer["metadata"].get("continue", "")
            self._reached()
            if not following:
                self._replace(items, int(answer["metadata"]["resourceVersion"]))
                return answer["metadata"]["resourceVersion"]

    def _replace(self, items: list[Any], version: int) -> None:
        read = [found for item in items if (found := self._read(item)) is not None]
        listed = {name for name, _entry in read}
        with self._lock:
            self._listed_version = version
            # One that cannot be read may be any of those that seem to be missing.
            missing = [] if len(read) < len(items) else self._entries.keys() - listed
            for name in missing:
                known = self._entries[name]
                if known.is_gone:
                    del self._entries[name]
                elif known.version <= version:
                    self._entries[name] = Entry(known.object, version, is_gone=True)
        for name, entry in read:
            self._keep(name, entry, is_listed=True)
        self.is_synced = True
        self._changed()

    def _watch(self, version: str, *, until: float) -> None:
        while not self._ended.is_set() and time.monotonic() < until:
            try:
                for event in self._events(version):
                    version = self._take(event) or version
            except AwayError as error:
                self._lost()
                logger.info("watch_interrupted", path=self._path, error=str(error))
                self._ended.wait(_BACKOFF_S)
            except RefusedError as refusal:
                if refusal.status == HTTPStatus.GONE:
                    raise _ExpiredError from refusal
                raise

    def _events(self, version: str) -> Iterator[Manifest]:
        chunks = self._api.stream(
            self._path,
            _SILENCE_S,
            watch="true",
            allowWatchBookmarks="true",
            labelSelector=SELECTOR,
            resourceVersion=version,
            timeoutSeconds=str(_WATCH_S),
        )
        rest = b""
        for chunk in chunks:
            self._reached()
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                try:
                    yield json.loads(line)
                except ValueError:
                    logger.warning("event_quarantined", path=self._path, size_bytes=len(line))

    def _take(self, event: Manifest) -> str:
        """Apply one event; return the version from which the watch goes on after it."""
        try:
            kind, item = event["type"], event["object"]
            if kind == "ERROR":
                raise _ExpiredError
            version = str(item["metadata"]["resourceVersion"])
            int(version)
        except (KeyError, TypeError, ValueError):
            logger.warning("event_quarantined", path=self._path)
            return ""
        if kind != "BOOKMARK":
            self._apply(item, is_gone=kind == "DELETED")
            self._changed()
        return version

    def _read(self, item: Manifest, *, is_gone: bool = False) -> tuple[str, Entry] | None:
        try:
            metadata = item["metadata"]
            name, index = metadata["labels"][NAME_LABEL], metadata["labels"].get(INDEX_LABEL, "0")
            key = name if index == "0" else f"{name}/{index}"
            return str(key), Entry(_needed(item), int(metadata["resourceVersion"]), is_gone)
        except (KeyError, TypeError, ValueError, AttributeError):
            logger.warning("object_quarantined", path=self._path)
            return None

    def _apply(self, item: Manifest, *, is_gone: bool, is_listed: bool = False) -> None:
        read = self._read(item, is_gone=is_gone)
        if read is not None:
            self._keep(*read, is_listed=is_listed)

    def _keep(self, name: str, entry: Entry, *, is_listed: bool) -> None:
        with self._lock:
            known = self._entries.get(name)
            # An event from before the list about something that is not in it is a replay.
            oldest = known.version if known else 0 if is_listed else self._listed_version
            if entry.version > oldest:
                self._entries[name] = entry


def _needed(item: Manifest) -> Manifest:
    """Return the parts of an object that anybody here asks for.

    The rest is most of it, and would be looked at by every collection of garbage.
    """
    metadata = item["metadata"]
    kept = {"metadata": {key: metadata[key] for key in ("name", "uid", "labels")}}
    if "status" in item:
        kept["status"] = item["status"]
    if "spec" in item:
        kept["spec"] = {"suspend": item["spec"].get("suspend")}
    return kept
