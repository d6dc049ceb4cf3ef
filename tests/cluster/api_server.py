"""The REST side of a cluster: as much of it as the official client and Helm's own ask for."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from urllib.parse import parse_qs, urlsplit

import jsonschema

from tests.cluster import resources, wire
from tests.cluster.access import Access
from tests.cluster.store import Object, StatusError, Store, apply, merge
from tests.cluster.watch import problem, selector, watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cluster.resources import Resource

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


class Place(NamedTuple):
    """What a path leads to. Without a name it is all objects of a resource, of one namespace or
    of all."""

    resource: Resource
    namespace: str | None
    name: str
    sub: str


class ApiServer:
    """Serves `store` on a free port of this machine.

    While `is_down` every connection is cut, open ones too; `cuts` is how many requests are left
    without an answer though it is not. `requests` are the times at which they came. `delete` and
    `follow_log` are of whoever runs the pods.
    """

    def __init__(
        self,
        store: Store,
        delete: Callable[[str, str, Object, str | None], None],
        follow_log: Callable[[str, bool], Any],
    ) -> None:
        self.store = store
        self.access = Access(store)
        self.delete = delete
        self.follow_log = follow_log
        self.is_down = False
        self.cuts = 0
        self.requests: list[float] = []
        self.applied: dict[tuple[str, str | None, str, str], Object] = {}
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
    # Head and body leave apart; the second would wait for the first to be acknowledged.
    disable_nagle_algorithm = True
    api: ClassVar[ApiServer]

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._create)

    def do_PUT(self) -> None:
        self._answer(self._replace)

    def do_PATCH(self) -> None:
        self._answer(self._patch)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _answer(self, respond: Callable[[Place, dict[str, str]], Any]) -> None:
        self.api.requests.append(time.monotonic())
        if self.api.is_down or self.api.cuts:
            self.api.cuts = max(0, self.api.cuts - 1)
            self.close_connection = True
            return
        split = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        self._read = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            place = _place(split.path)
            if place is None:
                answer = resources.discovery(split.path)
            else:
                self._check_access(place, query)
                answer = respond(place, query)
        except StatusError as error:
            self._send(error.code, problem(error.code, error.reason, str(error)))
        except jsonschema.ValidationError as error:
            message = f"{error.json_path}: {error.message}"
            self._send(422, problem(422, "Invalid", message))
        else:
            if answer is not None:
                self._send(201 if self.command == "POST" else 200, answer)

    def _check_access(self, place: Place, query: dict[str, str]) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        verb = _VERBS.get(self.command) or ("get" if place.name else "list")
        if query.get("watch") == "true":
            verb = "watch"
        what = "/".join(part for part in (place.resource.name, place.sub) if part)
        group = place.resource.group
        self.api.access.check(token, verb, group, what, place.namespace or "")

    def _get(self, place: Place, query: dict[str, str]) -> Any:
        store, resource = self.api.store, place.resource
        if place.sub == "log":
            return self._stream(self.api.follow_log(place.name, query.get("follow") == "true"))
        if place.name:
            return store.get(resource.name, place.name, place.namespace)
        if query.get("watch") == "true":
            return self._stream(
                watch(store, resource, place.namespace, query, lambda: self.api.is_down)
            )
        with store.lock:
            items = store.list(resource.name, selector(query), place.namespace)
            version = str(store.version)
        if field := query.get("fieldSelector", "").removeprefix("metadata.name="):
            items = [item for item in items if item["metadata"]["name"] == field]
        start, limit = int(query.get("continue", 0)), int(query.get("limit", 0)) or len(items)
        following = str(start + limit) if start + limit < len(items) else ""
        metadata = {"resourceVersion": version, "continue": following}
        kind = {"kind": f"{resource.kind}List", "apiVersion": resource.group_version}
        return kind | {"metadata": metadata, "items": items[start : start + limit]}

    def _create(self, place: Place, query: dict[str, str]) -> Object:
        item = wire.parse(self._read)
        if place.namespace:
            item["metadata"].setdefault("namespace", place.namespace)
        if query.get("dryRun"):
            return item
        return self.api.store.create(place.resource.name, item)

    def _replace(self, place: Place, _query: dict[str, str]) -> Object:
        wanted = wire.parse(self._read)
        known = wanted["metadata"].pop("resourceVersion", None)

        def change(item: Object) -> None:
            if known not in {None, item["metadata"]["resourceVersion"]}:
                raise StatusError(409, "Conflict", "the object has been modified")
            kept = item["metadata"]
            item.clear()
            item |= wanted | {"metadata": kept | wanted["metadata"]}

        return self.api.store.update(place.resource.name, place.name, change, place.namespace)

    def _patch(self, place: Place, query: dict[str, str]) -> Object:
        patch, kind = wire.parse(self._read), self.headers.get("Content-Type", "")
        if kind == _APPLY:
            return self._apply(place, patch, query)
        if kind != _MERGE:
            raise StatusError(415, "UnsupportedMediaType", f"{kind} is not understood")
        return self.api.store.update(
            place.resource.name, place.name, lambda item: merge(item, patch), place.namespace
        )

    def _apply(self, place: Place, wanted: Object, query: dict[str, str]) -> Object:
        store, name = self.api.store, place.resource.name
        manager = query.get("fieldManager", "")
        key = (name, place.namespace, place.name, manager)
        if place.namespace:
            wanted["metadata"].setdefault("namespace", place.namespace)
        with store.lock:
            try:
                store.get(name, place.name, place.namespace)
            except StatusError:
                self.api.applied[key] = wanted
                return store.create(name, wanted)
            last = self.api.applied.get(key, {})
            changed = store.update(
                name, place.name, lambda item: apply(item, last, wanted), place.namespace
            )
            self.api.applied[key] = wanted
            return changed

    def _delete(self, place: Place, _query: dict[str, str]) -> Object:
        self.api.store.get(place.resource.name, place.name, place.namespace)
        options = wire.parse(self._read)
        self.api.delete(place.resource.name, place.name, options, place.namespace)
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def _stream(self, chunks: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        # Nobody may send another request on a connection that is about to be closed.
        self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(OSError):
            for chunk in chunks:
                if self.api.is_down:
                    return
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                self.wfile.flush()
            if not self.api.is_down:
                self.wfile.write(b"0\r\n\r\n")

    def _send(self, code: int, body: Object) -> None:
        data = json.dumps(body).encode()
        with contextlib.suppress(OSError):
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)


def _place(path: str) -> Place | None:
    """Return what a path leads to; None for one of discovery."""
    parts = path.strip("/").split("/")
    depth = {"api": 2, "apis": 3}.get(parts[0], len(parts))
    group_version, rest = "/".join(parts[1:depth]), parts[depth:]
    if not rest:
        return None
    namespace = None
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    resource = resources.named(rest[0])
    if resource.group_version != group_version:
        raise StatusError(404, "NotFound", f"the server could not find {path}")
    name, sub, *_ = [*rest[1:], "", ""]
    return Place(resource, namespace, name, sub)
