"""The cluster's DNS: the name of a Service is the addresses of its pods that are ready.

What a Service's own address would lead to elsewhere, one of its pods, is here any of them too.
"""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from typing import TYPE_CHECKING

from tests.cluster.store import StatusError, has_labels
from tests.network_policies import Place, allowed

if TYPE_CHECKING:
    from tests.cluster.store import Object, Store

NOBODY = "127.255.255.254"
"""An address that nobody listens on."""

_TTL_S = 1
_A, _IN = 1, 1
_NO_SUCH_NAME = 3


class Names:
    """What `<service>.<namespace>.svc`, also with a `<hostname>.` before it, stands for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def resolve(self, name: str) -> list[str] | None:
        """Return the addresses of a name; None for a name that is no Service's."""
        parts = name.removesuffix(".").removesuffix(".cluster.local").split(".")
        if len(parts) not in {3, 4} or parts[-1] != "svc":
            return None
        *host, service_name, namespace, _ = parts
        found = [
            service
            for service in self._store.list("services", namespace=namespace)
            if service["metadata"]["name"] == service_name
        ]
        return (
            [
                pod["status"]["podIP"]
                for service in found
                for pod in self._store.list("pods", namespace=namespace)
                if _is_endpoint(pod, service) and host in ([], [pod["spec"].get("hostname")])
            ]
            if found
            else None
        )

    def may_reach(self, pod: Object, name: str, port: int | None = None) -> bool:
        """Say whether the policies let a pod have a port of a Service's pods; any without one."""
        *_, service, namespace, _ = name.split(".")
        try:
            spec = self._store.get("services", service, namespace)["spec"]
        except StatusError:
            return True
        here = Place(pod["metadata"]["namespace"], pod["metadata"].get("labels", {}))
        there = Place(namespace, spec["selector"])
        policies = self._store.list("networkpolicies")
        ports = [port] if port else [each["port"] for each in spec.get("ports", ())]
        return not ports or any(allowed(policies, here, there, each, "TCP") for each in ports)


class View:
    """The DNS of one pod, on a port of its own: Services that it may not have lead to nobody."""

    def __init__(self, names: Names, pod: Object) -> None:
        self._names = names
        self._pod = pod
        view = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                question, reply = self.request
                reply.sendto(view.answer(question), self.client_address)

        self._server = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, question: bytes) -> bytes:
        """Return the reply to a query of one question (RFC 1035, section 4)."""
        labels, place = [], 12
        while length := question[place]:
            labels.append(question[place + 1 : place + 1 + length].decode())
            place += 1 + length
        kind = struct.unpack_from("!H", question, place + 1)[0]
        asked = question[12 : place + 5]
        name = ".".join(labels)
        found = self._names.resolve(name)
        if found is not None and not self._names.may_reach(self._pod, name):
            found = [NOBODY]
        records = [
            b"\xc0\x0c" + struct.pack("!HHIH", _A, _IN, _TTL_S, 4) + socket.inet_aton(address)
            for address in (found or [] if kind == _A else [])
        ]
        flags = 0x8580 | (_NO_SUCH_NAME if found is None else 0)
        head = question[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0)
        return head + asked + b"".join(records)


def _is_endpoint(pod: Object, service: Object) -> bool:
    spec, metadata, status = service["spec"], pod["metadata"], pod.get("status", {})
    if not has_labels(pod, spec["selector"]) or "podIP" not in status:
        return False
    if spec.get("publishNotReadyAddresses"):
        return True
    ready = any(
        each["type"] == "Ready" and each["status"] == "True" for each in status["conditions"]
    )
    return ready and "deletionTimestamp" not in metadata
