"""A small S3 on a loopback port: enough of the protocol for one bucket, kept in memory."""

from __future__ import annotations

import re
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "artifacts"


@dataclass
class ObjectStore:
    """The bucket's objects by key, the parts of unfinished uploads, and faults to play."""

    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    refuse_part: int = 0
    url: str = ""
    authorization: str = ""
    """What the last upload proved itself with."""


def _handler(store: ObjectStore) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - one protocol
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            return

        def _asked(self) -> tuple[str, dict[str, str]]:
            parts = urlsplit(self.path)
            query = parse_qs(parts.query, keep_blank_values=True)
            key = unquote(parts.path).removeprefix(f"/{BUCKET}").lstrip("/")
            return key, {name: values[0] for name, values in query.items()}

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("content-length", 0)))

        def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            self.send_header("Last-Modified", formatdate(usegmt=True))
            self.send_header("ETag", '"1"')
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", headers.pop("size", str(len(body))))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_PUT(self) -> None:
            key, query = self._asked()
            store.authorization = self.headers.get("authorization", "")
            body = self._body()
            if "partNumber" not in query:
                store.objects[key] = body
            elif int(query["partNumber"]) == store.refuse_part:
                return self._answer(403)
            else:
                store.parts[query["uploadId"]][int(query["partNumber"])] = body
            return self._answer(200)

        def do_POST(self) -> None:
            key, query = self._asked()
            body = self._body().decode()
            if "delete" in query:
                gone = re.findall("<Key>(.*?)</Key>", body)
                for name in gone:
                    store.objects.pop(name, None)
                told = "".join(f"<Deleted><Key>{name}</Key></Deleted>" for name in gone)
                return self._answer(200, f"<DeleteResult>{told}</DeleteResult>".encode())
            if "uploads" in query:
                upload_id = uuid.uuid4().hex
                store.parts[upload_id] = {}
                tag, value = "InitiateMultipartUploadResult", f"<UploadId>{upload_id}</UploadId>"
            else:
                parts = store.parts.pop(query["uploadId"])
                store.objects[key] = b"".join(parts[number] for number in sorted(parts))
                tag, value = "CompleteMultipartUploadResult", '<ETag>"1"</ETag>'
            names = f"<Bucket>{BUCKET}</Bucket><Key>{escape(key)}</Key>"
            return self._answer(200, f"<{tag}>{names}{value}</{tag}>".encode())

        def do_DELETE(self) -> None:
            key, query = self._asked()
            store.parts.pop(query.get("uploadId", ""), None)
            if not query:
                store.objects.pop(key, None)
            self._answer(204)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            key, query = self._asked()
            if "list-type" in query:
                return self._answer(200, self._listing(query.get("prefix", "")))
            if key not in store.objects:
                return self._answer(404)
            content = store.objects[key]
            if (asked := self.headers.get("range")) is None:
                return self._answer(200, content, **self._size(content))
            first, last = (int(bound) for bound in asked.removeprefix("bytes=").split("-"))
            part = content[first : last + 1]
            bounds = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
            return self._answer(206, part, Content_Range=bounds)

        def _size(self, content: bytes) -> dict[str, str]:
            return {"size": str(len(content))} if self.command == "HEAD" else {}

        def _listing(self, prefix: str) -> bytes:
            entries = "".join(
                f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size>"
                "<LastModified>2020-01-01T00:00:00.000Z</LastModified><ETag>1</ETag></Contents>"
                for key, content in sorted(store.objects.items())
                if key.startswith(prefix)
            )
            more = "<IsTruncated>false</IsTruncated>"
            return f"<ListBucketResult>{more}{entries}</ListBucketResult>".encode()

    return Handler


@contextmanager
def serving() -> Iterator[ObjectStore]:
    """Serve an empty bucket; `url` is its endpoint."""
    store = ObjectStore()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(store))
    store.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield store
    server.shutdown()
    thread.join()
    server.server_close()
