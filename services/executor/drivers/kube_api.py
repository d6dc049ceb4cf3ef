"""Calls to the API server of Kubernetes: with the official client's credentials, as plain JSON.

Objects stay dictionaries. The client's models refuse an object as a whole that has one odd field,
and then nobody could tell whose it is.
"""

from __future__ import annotations

import json
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config import load_incluster_config, load_kube_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from kubernetes.client.rest import RESTResponse

    from services.executor.drivers.kube_job import Manifest

_CONNECT_S, _READ_S = 5.0, 10.0
_STALE_CONNECTIONS = 2
_BURST_S = 1.0
_MERGE = "application/merge-patch+json"
_RETRIED = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


class RefusedError(Exception):
    """The API server's answer was no, and would be again. `status` is that of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{message} (status {status})")
        self.status = status


class AwayError(Exception):
    """The API server does not answer, or not now."""


class KubeApi:
    """One API server, asked `queries_per_s` at most, by any number of threads.

    `kubeconfig` names the server and the credentials; without it they are those of this pod.
    `connections` is how many are kept.
    """

    def __init__(self, *, kubeconfig: Path | None, queries_per_s: float, connections: int) -> None:
        configuration = Configuration(retries=False, connection_pool_maxsize=connections)
        if kubeconfig is None:
            load_incluster_config(client_configuration=configuration)
        else:
            load_kube_config(str(kubeconfig), client_configuration=configuration)
        self._client = ApiClient(configuration)
        self._throttle = _Throttle(queries_per_s)

    def get(self, path: str, **query: str) -> Manifest:
        """Return an object or a list; like every call here, raise RefusedError or AwayError."""
        return _parsed(self._open("GET", path, query))

    def create(self, path: str, body: Manifest) -> Manifest:
        """Return the object as it was stored."""
        return _parsed(self._open("POST", path, {"fieldValidation": "Strict"}, body))

    def patch(self, path: str, body: Manifest) -> Manifest:
        """Merge some fields into an object."""
        return _parsed(self._open("PATCH", path, {}, body, content_type=_MERGE))

    def delete(self, path: str, **options: object) -> None:
        """Delete an object that may be gone already."""
        try:
            body = {"kind": "DeleteOptions", "apiVersion": "v1", **options}
            _whole(self._open("DELETE", path, {}, body))
        except RefusedError as refusal:
            if refusal.status != HTTPStatus.NOT_FOUND:
                raise

    def stream(self, path: str, read_s: float, **query: str) -> Iterator[bytes]:
        """Yield what comes, as it comes, until the server ends it or is silent for `read_s`.

        First comes an empty piece, once the server has agreed to answer.
        """
        response = self._open("GET", path, query, read_s=read_s)
        try:
            yield b""
            yield from response.stream()
        except urllib3.exceptions.HTTPError as error:
            raise AwayError(str(error)) from error
        finally:
            response.close()

    def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Manifest | None = None,
        *,
        content_type: str = "application/json",
        read_s: float = _READ_S,
    ) -> urllib3.BaseHTTPResponse:
        request = self._client.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={"Accept": "application/json, */*", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._answer(request, read_s)
        except (urllib3.exceptions.HTTPError, ApiException) as error:
            raise AwayError(str(error)) from error
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise _problem(answer.status, answer.response.data)
        return answer.response

    def _answer(self, request: tuple[Any, ...], read_s: float) -> RESTResponse:
        found_stale = 0
        while True:
            self._throttle.take()
            try:
                return self._client.call_api(*request, _request_timeout=(_CONNECT_S, read_s))
            except urllib3.exceptions.ProtocolError:
                # The server, or what lies before it, has closed a connection that was kept. Every
                # call may be repeated: what has been created is found, not made again.
                found_stale += 1
                if found_stale > _STALE_CONNECTIONS:
                    raise


class _Throttle:
    """Lets callers through at a rate, and up to a second's worth of them at once."""

    def __init__(self, per_s: float) -> None:
        self._interval_s = 1 / per_s
        self._lock = threading.Lock()
        self._next = 0.0

    def take(self) -> None:
        with self._lock:
            now = time.monotonic()
            self._next = max(self._next, now - _BURST_S) + self._interval_s
            pause_s = self._next - now
        if pause_s > 0:
            time.sleep(pause_s)


def _problem(status: int, body: bytes) -> RefusedError | AwayError:
    try:
        message = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        message = body[:200].decode(errors="replace")
    is_full = status == HTTPStatus.FORBIDDEN and "exceeded quota" in message
    if status in _RETRIED or status >= HTTPStatus.INTERNAL_SERVER_ERROR or is_full:
        return AwayError(f"{message} (status {status})")
    return RefusedError(status, message)


def _whole(response: urllib3.BaseHTTPResponse) -> bytes:
    try:
        return response.data
    except urllib3.exceptions.HTTPError as error:
        raise AwayError(str(error)) from error


def _parsed(response: urllib3.BaseHTTPResponse) -> Manifest:
    try:
        return json.loads(_whole(response))
    except ValueError as error:
        raise AwayError(f"the answer is no JSON: {error}") from error
