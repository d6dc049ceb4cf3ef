"""The client over real HTTP: who it is, what it sends again, where it resumes."""

from __future__ import annotations

import stat
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from elodrome_sdk import ApiError, Client, UnreachableError
from elodrome_sdk.credentials import Credentials, CredentialsFile

from tests.service.cli_install import Answer, Install, events, refusal, running_install

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIGNED_OUT = refusal(401, "UNAUTHENTICATED", "TOKEN_EXPIRED", "the token has expired")
AWAY = refusal(503, "UNAVAILABLE", "DATABASE_UNAVAILABLE", "the database does not answer")


def sign_in(name: str = "fresh", expires_in_s: int = 900) -> dict[str, Any]:
    return {
        "access_token": f"{name}-access",
        "refresh_token": f"{name}-refresh",
        "expires_in_s": expires_in_s,
        "token_type": "bearer",
        "user": {"email": "ada@example.org", "username": "ada"},
    }


@pytest.fixture
def install() -> Iterator[Install]:
    with running_install() as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> CredentialsFile:
    return CredentialsFile(tmp_path / "elodrome" / "credentials.json")


@pytest.fixture
def client(install: Install, file: CredentialsFile) -> Iterator[Client]:
    with Client(install.url, credentials=file) as made:
        yield made


def test_login_keeps_credentials_that_only_the_owner_reads(
    install: Install, client: Client, file: CredentialsFile
) -> None:
    install.on("POST /auth/login", sign_in())
    install.on("GET /users/me", {"username": "ada"})
    client.login("ada@example.org", "a long password")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    assert "a long password" not in file.path.read_text()
    with Client(install.url, credentials=file) as later:
        assert later.get("/users/me") == {"username": "ada"}
    assert install.requests[-1].headers["authorization"] == "Bearer fresh-access"
    with Client("http://127.0.0.1:1", credentials=file) as elsewhere:
        assert elsewhere._token() == ""


def test_cookies_are_left_to_browsers(install: Install, client: Client) -> None:
    cookie = {"set-cookie": "elodrome_session=s; Path=/; HttpOnly"}
    install.on("POST /auth/register", Answer(201, sign_in(), headers=cookie))
    install.on("POST /runs", {"id": "run-1"})
    assert client.register("ada@example.org", "a long password")["username"] == "ada"
    client.post("/runs")
    assert "cookie" not in install.requests[-1].headers
    assert install.requests[-1].headers["authorization"] == "Bearer fresh-access"


def test_logout_tells_the_install_and_forgets(
    install: Install, client: Client, file: CredentialsFile
) -> None:
    install.on("POST /auth/login", sign_in())
    install.on("POST /auth/logout", {"ok": True})
    client.login("ada@example.org", "a long password")
    client.logout()
    assert install.sent("POST /auth/logout")[0].headers["authorization"] == "Bearer fresh-access"
    assert file.get(install.url) is None


def test_refused_token_is_renewed_once_and_the_request_repeated(
    install: Install, client: Client, file: CredentialsFile
) -> None:
    file.put(install.url, Credentials("old-access", "old-refresh", time.time() + 900))
    install.on("GET /runs", SIGNED_OUT, {"items": [], "total": 0})
    install.on("POST /auth/refresh", sign_in())
    assert client.get("/runs")["total"] == 0
    assert install.sent("POST /auth/refresh")[0].body == {"refresh_token": "old-refresh"}
    assert file.get(install.url).refresh_token == "fresh-refresh"
    assert install.requests[-1].headers["authorization"] == "Bearer fresh-access"


def test_token_that_is_about_to_end_is_renewed_beforehand(
    install: Install, client: Client, file: CredentialsFile
) -> None:
    file.put(install.url, Credentials("old-access", "old-refresh", time.time() + 5))
    install.on("GET /runs", {"items": []})
    install.on("POST /auth/refresh", sign_in())
    client.get("/runs")
    assert [one.path for one in install.requests] == ["/auth/refresh", "/runs"]


def test_processes_that_renew_at_once_use_a_refresh_token_once(
    install: Install, file: CredentialsFile
) -> None:
    file.put(install.url, Credentials("old-access", "old-refresh", time.time() - 1))
    install.on("POST /auth/refresh", sign_in())
    install.on("GET /runs", {"items": []})

    def use() -> None:
        with Client(install.url, credentials=CredentialsFile(file.path)) as one:
            one.get("/runs")

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(install.sent("POST /auth/refresh")) == 1
    assert len(install.sent("GET /runs")) == 6


def test_session_that_ended_at_the_install_is_forgotten(
    install: Install, client: Client, file: CredentialsFile
) -> None:
    file.put(install.url, Credentials("old-access", "old-refresh", time.time() + 900))
    install.on("GET /runs", SIGNED_OUT)
    install.on("POST /auth/refresh", SIGNED_OUT)
    with pytest.raises(ApiError) as failure:
        client.get("/runs")
    assert failure.value.status == 401
    assert file.get(install.url) is None
    assert len(install.sent("POST /auth/refresh")) == 1


def test_api_key_goes_before_credentials(install: Install, file: CredentialsFile) -> None:
    file.put(install.url, Credentials("old-access"))
    install.on("GET /runs", SIGNED_OUT)
    with Client(install.url, credentials=file, api_key="key-1") as client, pytest.raises(ApiError):
        client.get("/runs")
    assert [one.headers["authorization"] for one in install.requests] == ["Bearer key-1"]


def test_post_is_sent_again_under_one_key(install: Install, client: Client) -> None:
    install.on("POST /runs", AWAY, Answer(raw=b"{", cut=True), {"id": "run-1"})
    assert client.post("/runs", {"name": "one"}) == {"id": "run-1"}
    keys = {one.headers["idempotency-key"] for one in install.sent("POST /runs")}
    assert (len(install.requests), len(keys)) == (3, 1)
    client.post("/runs", {"name": "two"})
    assert install.requests[-1].headers["idempotency-key"] not in keys


def test_signing_in_is_never_sent_twice(install: Install, client: Client) -> None:
    install.on("POST /auth/login", AWAY)
    with pytest.raises(ApiError):
        client.login("ada@example.org", "a long password")
    assert len(install.requests) == 1
    assert "idempotency-key" not in install.requests[0].headers


def test_refusal_is_read_and_not_repeated(install: Install, client: Client) -> None:
    install.on(
        "POST /sessions/start",
        refusal(
            422, "INVALID_ARGUMENT", "INVALID_FIELD", "mode: must be one of DUEL", field="mode"
        ),
    )
    with pytest.raises(ApiError, match="mode: must be one of") as failure:
        client.post("/sessions/start")
    error = failure.value
    assert (error.status, error.reason, error.field) == (422, "INVALID_FIELD", "mode")
    assert error.request_id == "r-1"
    assert len(install.requests) == 1


def test_answers_of_a_proxy_are_refusals_too(install: Install, client: Client) -> None:
    install.on("GET /runs", Answer(400, raw=b"<html>Bad Request</html>"))
    with pytest.raises(ApiError, match="not from Elodrome") as failure:
        client.get("/runs")
    assert failure.value.status == 400


def test_nobody_there_is_said_at_once(file: CredentialsFile) -> None:
    with (
        Client("http://127.0.0.1:1", credentials=file) as client,
        pytest.raises(UnreachableError, match=r"no answer from http://127\.0\.0\.1:1"),
    ):
        client.post("/runs")


def test_items_turns_the_pages(install: Install, client: Client) -> None:
    install.on(
        "GET /runs",
        {"items": [{"id": 1}, {"id": 2}], "next_page_token": "next"},
        {"items": [{"id": 3}], "next_page_token": ""},
    )
    assert [one["id"] for one in client.items("/runs", states=["RUNNING"], group="")] == [1, 2, 3]
    assert install.requests[0].query == {"states": ["RUNNING"], "page_size": ["200"]}
    assert install.requests[1].query["page_token"] == ["next"]


def test_broken_stream_resumes_after_its_last_event(install: Install, client: Client) -> None:
    install.on(
        "GET /runs/1/watch",
        events(("1", "state", {"state": "RUNNING"}), ("2", "progress", {}), cut=True),
        AWAY,
        events(
            ("", "error", {"error": {"code": "UNAVAILABLE", "message": "being replaced"}}),
        ),
        events(("3", "done", {"state": "COMPLETED"}), ("4", "progress", {})),
    )
    seen = [(one.id, one.event) for one in client.watch("/runs/1/watch")]
    assert seen == [("1", "state"), ("2", "progress"), ("3", "done")]
    resumed_at = [one.headers.get("last-event-id") for one in install.requests]
    assert resumed_at == [None, "2", "2", "2"]


def test_stream_of_an_ended_session_is_renewed(
    install: Install, client: Client, file: CredentialsFile
) -> None:
    file.put(install.url, Credentials("old-access", "old-refresh", time.time() + 900))
    ended = {"error": {"code": "UNAUTHENTICATED", "reason": "TOKEN_EXPIRED"}}
    install.on(
        "GET /runs/1/watch",
        events(("1", "progress", {}), ("", "error", ended)),
        events(("2", "done", {})),
    )
    install.on("POST /auth/refresh", sign_in())
    assert [one.id for one in client.watch("/runs/1/watch")] == ["1", "2"]
    assert install.requests[-1].headers["authorization"] == "Bearer fresh-access"


def test_refused_stream_is_not_tried_again(install: Install, client: Client) -> None:
    install.on("GET /runs/1/watch", refusal(404, "NOT_FOUND", "RUN_NOT_FOUND", "no run 1"))
    with pytest.raises(ApiError, match="no run 1"):
        list(client.watch("/runs/1/watch"))
    assert len(install.requests) == 1
