"""The REST API of an install: signed in, retried where that is safe, streams resumed."""

from __future__ import annotations

import json
import os
import time
import uuid
from contextlib import nullcontext
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import httpx

from elodrome_sdk.credentials import Credentials, CredentialsFile
from elodrome_sdk.errors import ApiError, UnreachableError
from elodrome_sdk.sse import EventParser, ServerEvent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Json: TypeAlias = Any
"""A value as JSON decodes to it; its shape is what the contract says of the path."""

DEFAULT_URL = "http://127.0.0.1:8080"
API = "/api/v1"
TIMEOUT_S = 30
ATTEMPTS = 4
"""How often a request is sent at most while the install is away."""
RECONNECT_S = 60
"""How long a stream that broke is tried again."""
EXPIRY_MARGIN_S = 30
PAGE_SIZE = 200

_UNAUTHORIZED = 401
_TOO_MANY_REQUESTS = 429
_FIRST_ERROR = 400
_AWAY = frozenset({502, 503, 504})
_FIRST_PAUSE_S = 0.3
_MAX_PAUSE_S = 5.0
# A heartbeat comes every few seconds: a stream that is silent for longer is dead.
_STREAM_TIMEOUT = httpx.Timeout(TIMEOUT_S, read=60)


class Client:
    """Talks to one install.

    `url` defaults to ELODROME_URL, else http://127.0.0.1:8080. `api_key` defaults to
    ELODROME_API_KEY; without one the credentials that `login` stored in `credentials` are used and
    renewed. Raises `ApiError` for refusals and `UnreachableError` when nothing answers.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        credentials: CredentialsFile | None = None,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = (url or os.environ.get("ELODROME_URL") or DEFAULT_URL).rstrip("/")
        self._api_key = api_key or os.environ.get("ELODROME_API_KEY", "")
        self._file = credentials or CredentialsFile()
        self._signed_in: Credentials | None = None
        self._http = httpx.Client(
            base_url=self.url + API,
            timeout=timeout_s,
            transport=transport,
            trust_env=False,
            # Cookies are for browsers: a request that carries one must prove where it comes from.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def login(self, email: str, password: str) -> dict[str, Any]:
        """Sign in, keep the credentials, and return the user."""
        answer = self._send("POST", "/auth/login", body={"email": email, "password": password})
        self._keep(answer)
        return answer["user"]

    def register(self, email: str, password: str, username: str = "") -> dict[str, Any]:
        """Create an account, keep its credentials, and return the user."""
        body = {"email": email, "password": password, "username": username}
        answer = self._send("POST", "/auth/register", body=body)
        self._keep(answer)
        return answer["user"]

    def logout(self) -> None:
        """End the session at the install and forget the credentials."""
        if self._file.get(self.url) is not None:
            self.post("/auth/logout", {})
        self.forget()

    def forget(self) -> None:
        """Forget the credentials without telling the install."""
        with self._file.locked():
            self._file.put(self.url, None)
        self._signed_in = None

    def get(self, path: str, **query: Json) -> Json:
        """Read `path`, which starts after /api/v1; empty parameters are left out."""
        return self.request("GET", path, query=query)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Json:
        """Create or act. Sent again while the install is away, which acts once all the same."""
        return self.request("POST", path, body=body or {})

    def patch(self, path: str, body: dict[str, Any]) -> Json:
        """Change the fields that `body` holds."""
        return self.request("PATCH", path, body=body)

    def delete(self, path: str, **query: Json) -> Json:
        """Remove what `path` names."""
        return self.request("DELETE", path, query=query)

    def upload(self, path: str, file: Path, *, method: str = "PUT") -> Json:
        """Store a file. By PUT it is sent again while the install is away, and stored once."""
        return self.request(method, path, file=file)

    def items(self, path: str, **query: Json) -> Iterator[dict[str, Any]]:
        """Yield the items of every page of a list."""
        token = ""
        while True:
            page = self.get(path, **query, page_size=PAGE_SIZE, page_token=token)
            yield from page["items"]
            token = page.get("next_page_token", "")
            if not token:
                return

    def request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
        file: Path | None = None,
    ) -> Json:
        """Send a request as the signed-in user and return the JSON of the answer.

        What is sent is `body` as JSON, or `file` as it is.
        """
        given = {name: value for name, value in (query or {}).items() if value not in ("", None)}
        token = self._token()
        try:
            return self._send(method, path, query=given, body=body, file=file, token=token)
        except ApiError as error:
            if error.status != _UNAUTHORIZED or not self._renew(token):
                raise
        return self._send(method, path, query=given, body=body, file=file, token=self._token())

    def watch(self, path: str, *, cursor: str = "") -> Iterator[ServerEvent]:
        """Yield the events of a stream up to and including `done`, without gap or duplicate.

        A stream that breaks is resumed after its last event. Raises `ApiError` when the install
        refuses and `UnreachableError` when it stays away for 60 s.
        """
        parser = EventParser(cursor)
        give_up = time.monotonic() + RECONNECT_S
        while True:
            broken = "the stream ended early"
            try:
                for event in self._stream(path, parser.last_event_id, parser):
                    give_up = time.monotonic() + RECONNECT_S
                    yield event
                    if event.event == "done":
                        return
            except (httpx.TransportError, UnreachableError) as error:
                broken = str(error)
            except ApiError as error:
                if not self._may_resume(error):
                    raise
                broken = error.message
            if time.monotonic() > give_up:
                raise UnreachableError(self.url, broken)
            time.sleep(min(parser.retry_s or 1.0, _MAX_PAUSE_S))
            parser.restart()

    def download(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of a file."""
        headers = self._headers(self._token())
        try:
            with self._http.stream("GET", path, headers=headers) as response:
                _raise_for_status(response)
                yield from response.iter_raw()
        except httpx.TransportError as error:
            raise UnreachableError(self.url, str(error)) from error

    def _stream(self, path: str, cursor: str, parser: EventParser) -> Iterator[ServerEvent]:
        headers = self._headers(self._token()) | {"accept": "text/event-stream"}
        if cursor:
            headers["last-event-id"] = cursor
        with self._http.stream("GET", path, headers=headers, timeout=_STREAM_TIMEOUT) as response:
            _raise_for_status(response)
            for event in parser.parse(response.iter_raw()):
                if event.event == "error":
                    raise ApiError(0, json.loads(event.data)["error"])
                yield event

    def _may_resume(self, error: ApiError) -> bool:
        if error.code == "UNAUTHENTICATED":
            return self._renew(self._token())
        return error.status in _AWAY or error.code == "UNAVAILABLE"

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
        file: Path | None = None,
        token: str = "",
    ) -> Json:
        headers = self._headers(token)
        # A refresh token works once: a second use would sign the user out.
        # A file that is posted is a new thing each time.
        is_once = path.startswith("/auth/") or (method == "POST" and file is not None)
        attempts = 1 if is_once else ATTEMPTS
        if method == "POST" and attempts > 1:
            # The install answers a repeat with the first answer, so sending again is safe.
            headers["idempotency-key"] = str(uuid.uuid4())
        pause_s = _FIRST_PAUSE_S
        for attempt in range(1, attempts + 1):
            last = attempt == attempts
            try:
                with file.open("rb") if file else nullcontext() as content:
                    answer = self._http.request(
                        method, path, params=query, json=body, content=content, headers=headers
                    )
            except httpx.ConnectError as error:
                raise UnreachableError(self.url, str(error)) from error
            except httpx.TransportError as error:
                if last:
                    raise UnreachableError(self.url, str(error) or type(error).__name__) from error
            else:
                if answer.status_code not in _AWAY or last:
                    _raise_for_status(answer)
                    return answer.json() if answer.content else {}
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)
        raise AssertionError("the last attempt returns or raises")

    def _headers(self, token: str) -> dict[str, str]:
        return {"authorization": f"Bearer {token}"} if token else {}

    def _token(self) -> str:
        """Return the token to send; empty for nobody."""
        if self._api_key:
            return self._api_key
        if self._signed_in is None:
            self._signed_in = self._file.get(self.url)
        signed_in = self._signed_in
        if signed_in is None:
            return ""
        if signed_in.refresh_token and time.time() > signed_in.expire_time - EXPIRY_MARGIN_S:
            self._renew(signed_in.access_token)
        return self._signed_in.access_token if self._signed_in else ""

    def _renew(self, refused_token: str) -> bool:
        """Exchange the refresh token for new credentials; say whether there are any."""
        if self._api_key:
            return False
        with self._file.locked():
            known = self._file.get(self.url)
            if known is not None and known.access_token != refused_token:
                # Another process was faster; its credentials are good.
                self._signed_in = known
                return True
            if known is None or not known.refresh_token:
                return False
            try:
                answer = self._send(
                    "POST", "/auth/refresh", body={"refresh_token": known.refresh_token}
                )
            except ApiError as error:
                if error.status != _UNAUTHORIZED:
                    raise
                self._file.put(self.url, None)
                self._signed_in = None
                return False
            self._store(answer)
            return True

    def _keep(self, answer: dict[str, Any]) -> None:
        with self._file.locked():
            self._store(answer)

    def _store(self, answer: dict[str, Any]) -> None:
        self._signed_in = Credentials(
            access_token=answer["access_token"],
            refresh_token=answer.get("refresh_token", ""),
            expire_time=time.time() + answer.get("expires_in_s", 0),
            email=answer.get("user", {}).get("email", ""),
        )
        self._file.put(self.url, self._signed_in)


def _raise_for_status(response: httpx.Response) -> None:
    if response.status_code >= _FIRST_ERROR:
        response.read()
        raise ApiError.from_response(response)
