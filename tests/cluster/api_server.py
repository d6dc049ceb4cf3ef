"""The REST side of a cluster: as much of it as the official client of an executor asks for."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import jsonschema

from tests.cluster.store import Change, Object, StatusError, Store, has_labels, merge

if TYPE_CHECKING:
    from collections.abc import Callable

_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)/namespaces/(?P<namespace>[^/]+)"
    r"/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[a-z]+))?"
)
_RESOURCES = {
    "v1": [("pods", "Pod"), ("secrets", "Secret"), ("events", "Event")],
    "batch/v1": [("jobs", "Job")],
}
_BOOKMARK_S = 0.5


class ApiServer:
    """Serves `store` on a free port of this machine.

    While `is_down` every connection is cut, open ones too. `requests` are the times at which they
    came. `delete` and `follow_log` are of whoever runs the pods.
    """

    def __init__(
        self,
        store: Store,
        delete: Callable[[str, str, Object], None],
        follow_log: Callable[[str, bool], Any],
    ) -> None:
        self.store = store
        self.delete = delete
        self.follow_log = follow_log
        self.is_down = False
        self.requests: list[float] = []
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def go_down(self) -> None:
        with self.store.lock:
            self.is_down = True
            self.store.changed.notify_all()

    def come_back(self) -> None:
        self.is_down = False

    def stop(self) -> None:
        self.go_down()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: ClassVar[ApiServer]

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(lambda place, _: self.api.store.create(place["resource"], self._body()))

    def do_PATCH(self) -> None:
        self._answer(self._patch)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _answer(self, respond: Callable[[dict[str, str], dict[str, str]], Any]) -> None:
        self.api.requests.append(time.monotonic())
        if self.api.is_down:
            self.close_connection = True
            return
        split = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        self._read = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        match = _PATH.fullmatch(split.path)
        try:
            answer = respond(match.groupdict() if match else {"path": split.path}, query)
        except StatusError as error:
            self._status(error.code, error.reason, str(error))
        except jsonschema.ValidationError as error:
            self._status(422, "Invalid", f"{error.json_path}: {error.message}")
        else:
            if answer is not None:
                self._send(201 if self.command == "POST" else 200, answer)

    def _body(self) -> Any:
        return json.loads(self._read or b"{}")

    def _get(self, place: dict[str, str], query: dict[str, str]) -> Any:
        if "path" in place:
            return _discovery(place["path"])
        resource, name = place["resource"], place["name"]
        if place["sub"] == "log":
            return self._stream(self.api.follow_log(name, query.get("follow") == "true"))
        if name:
            return self.api.store.get(resource, name)
        labels = dict(item.split("=") for item in query.get("labelSelector", "").split(",") if item)
        if query.get("watch") == "true":
            return self._stream(self._changes(resource, labels, query))
        with self.api.store.lock:
            items = self.api.store.list(resource, labels)
            version = str(self.api.store.version)
        start, limit = int(query.get("continue", 0)), int(query.get("limit", 0)) or len(items)
        following = str(start + limit) if start + limit < len(items) else ""
        metadata = {"resourceVersion": version, "continue": following}
        return {"kind": "List", "apiVersion": "v1", "metadata": metadata} | {
            "items": items[start : start + limit]
        }

    def _patch(self, place: dict[str, str], _query: dict[str, str]) -> Object:
        return self.api.store.update(
            place["resource"], place["name"], lambda item: merge(item, self._body())
        )

    def _delete(self, place: dict[str, str], _query: dict[str, str]) -> Object:
        self.api.store.get(place["resource"], place["name"])
        self.api.delete(place["resource"], place["name"], self._body())
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def _changes(self, resource: str, labels: dict[str, str], query: dict[str, str]) -> Any:
        store, version = self.api.store, int(query["resourceVersion"])
        ends = time.monotonic() + float(query.get("timeoutSeconds", 3600))
        with store.lock:
            position = 0
        while time.monotonic() < ends and not self.api.is_down:
            with store.lock:
                if version < store.oldest:
                    yield _line("ERROR", _problem(410, "Expired", "too old resource version"))
                    return
                changes, position = store.changes[position:], len(store.changes)
                if not changes and not store.changed.wait(_BOOKMARK_S):
                    bookmark = {"metadata": {"resourceVersion": str(store.version)}}
                    version = store.version
                    yield _line("BOOKMARK", bookmark)
            for change in changes:
                if _is_wanted(change, resource, labels, int(query["resourceVersion"])):
                    version = max(version, change.version)
                    yield _line(change.kind, change.item)

    def _stream(self, chunks: Any) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            for chunk in chunks:
                if self.api.is_down:
                    return
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                self.wfile.flush()
            if not self.api.is_down:
                self.wfile.write(b"0\r\n\r\n")

    def _status(self, code: int, reason: str, message: str) -> None:
        self._send(code, _problem(code, reason, message))

    def _send(self, code: int, body: Object) -> None:
        data = json.dumps(body).encode()
        with contextlib.suppress(OSError):
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)


def _is_wanted(change: Change, resource: str, labels: dict[str, str], since: int) -> bool:
    if change.resource != resource or change.version < since:
        return False
    try:
        is_old = change.item["metadata"]["resourceVersion"] == str(since)
        return not is_old and has_labels(change.item, labels)
    except (KeyError, TypeError, AttributeError):
        return True  # what a test injects may be no object at all


def _line(kind: str, item: Any) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def _problem(code: int, reason: str, message: str) -> Object:
    problem = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return problem | {"message": message, "reason": reason, "code": code}


def _discovery(path: str) -> Object:
    if path == "/version":
        return {"major": "1", "minor": "37", "gitVersion": "v1.37.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        version = {"groupVersion": "batch/v1", "version": "v1"}
        group = {"name": "batch", "versions": [version], "preferredVersion": version}
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}
    group_version = path.removeprefix("/apis/").removeprefix("/api/")
    if group_version not in _RESOURCES:
        raise StatusError(404, "NotFound", f"no such path: {path}")
    resources = [
        {"name": name, "singularName": kind.lower(), "namespaced": True, "kind": kind}
        | {"verbs": ["create", "delete", "get", "list", "patch", "watch"]}
        for name, kind in _RESOURCES[group_version]
    ]
    return {"kind": "APIResourceList", "groupVersion": group_version, "resources": resources}
