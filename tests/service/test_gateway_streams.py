"""Streams through the edge: events that resume, files that go in and out in pieces."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import orjson
import pytest
from elodrome.executor.v1 import run_service_pb2, run_service_pb2_grpc
from elodrome.registry.v1 import (
    checkpoint_pb2,
    checkpoint_service_pb2,
    checkpoint_service_pb2_grpc,
)

from kit import errors
from tests.gateway import Client, Environment, Gateway, running_gateway
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RUN = "0f8fad5b-d9cb-469f-a165-70867728950e"
WATCH = f"/api/v1/runs/{RUN}/watch"
FILE = bytes(range(256)) * 4096


@dataclass
class Script(
    run_service_pb2_grpc.RunServiceServicer, checkpoint_service_pb2_grpc.CheckpointServiceServicer
):
    """A peer that plays a script: numbered updates, then the end or silence."""

    updates: int = 3
    stays: bool = False
    padding: str = ""
    seen: list = field(default_factory=list)
    ended: int = 0
    stored: bytes = b""
    pieces: list = field(default_factory=list)

    async def WatchRun(self, request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:  # noqa: N802
        self.seen.append((request, dict(context.invocation_metadata())))
        if request.cursor == "bad":
            refused = errors.invalid_argument("cursor", "is not one of ours")
            details = refused.to_status().SerializeToString()
            trailing = ((errors.DETAILS_KEY, details),)
            await context.abort(refused.code, refused.message, trailing_metadata=trailing)
        try:
            for number in range(int(request.cursor or 0) + 1, self.updates + 1):
                update = _update(number, is_last=number == self.updates and not self.stays)
                if self.padding:
                    update.metrics.values[self.padding] = 1
                yield update
            if self.stays:
                await asyncio.Event().wait()
        finally:
            self.ended += 1

    async def DownloadCheckpoint(  # noqa: N802
        self,
        _request: Any,
        context: grpc.aio.ServicerContext,
    ) -> AsyncIterator[Any]:
        given = dict(context.invocation_metadata())
        start = int(given["range"].removeprefix("bytes=").rstrip("-")) if "range" in given else 0
        metadata = [("http-content-length", str(len(FILE) - start)), ("http-etag", '"tag"')]
        metadata.append(("http-content-type", "application/octet-stream"))
        if start:
            metadata.append(("http-status", "206"))
            whole = len(FILE)
            metadata.append(("http-content-range", f"bytes {start}-{whole - 1}/{whole}"))
        await context.send_initial_metadata(metadata)
        for at in range(start, len(FILE), 1 << 18):
            piece = FILE[at : at + (1 << 18)]
            yield checkpoint_service_pb2.DownloadCheckpointResponse(data=piece)

    async def UploadCheckpoint(self, requests: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802
        self.pieces = []
        async for request in requests:
            self.pieces.append(request)
            if self.pieces[0].sha256 == "0" * 64:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "refused early")
        self.stored = b"".join(piece.data for piece in self.pieces)
        return checkpoint_pb2.Checkpoint(id=RUN, run_id=self.pieces[0].run_id)


def _update(number: int, *, is_last: bool) -> run_service_pb2.WatchRunResponse:
    update = run_service_pb2.WatchRunResponse(cursor=str(number))
    if is_last:
        update.done.SetInParent()
    else:
        update.metrics.step = number
    return update


@asynccontextmanager
async def scripted(
    service_environment: Environment, script: Script, **settings: Any
) -> AsyncIterator[tuple[Gateway, Client]]:
    """Run a gateway whose executor and registry play the script; yield it and a signed-in user."""
    server = grpc.aio.server()
    run_service_pb2_grpc.add_RunServiceServicer_to_server(script, server)
    checkpoint_service_pb2_grpc.add_CheckpointServiceServicer_to_server(script, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        peers = {"executor": address, "registry": address}
        environment = service_environment("gateway")
        async with running_gateway(environment, peers=peers, **settings) as gateway:
            yield gateway, await gateway.sign_in("ada")
    finally:
        await server.stop(0)


def events(text: str) -> list[dict[str, str]]:
    """Return the events of a stream as dictionaries of their lines."""
    blocks = [
        block for block in text.split("\n\n") if block and not block.startswith((":", "retry"))
    ]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


async def test_updates_arrive_as_events_and_the_stream_closes_after_done(
    service_environment: Environment,
) -> None:
    script = Script()
    async with scripted(service_environment, script) as (gateway, ada):
        for path in (WATCH, f"/api/v1/stream/training-runs/{RUN}"):
            answer = await gateway.http.get(path, headers=ada.headers)
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.text.startswith("retry: ")
            found = events(answer.text)
            assert [event["event"] for event in found] == ["metrics", "metrics", "done"]
            assert [event["id"] for event in found] == ["1", "2", "3"]
            assert orjson.loads(found[0]["data"])["step"] == 1
        _, metadata = script.seen[0]
        assert metadata["authorization"].startswith("Bearer ")
        assert metadata["x-request-id"]


async def test_resuming_gives_no_gap_and_no_duplicate(service_environment: Environment) -> None:
    async with scripted(service_environment, Script(updates=50)) as (gateway, ada):
        headers = {**ada.headers, "last-event-id": "20"}
        resumed = await gateway.http.get(WATCH, headers=headers)
        assert [e["id"] for e in events(resumed.text)] == [str(n) for n in range(21, 51)]
        asked = await gateway.http.get(WATCH, headers=ada.headers, params={"cursor": "40"})
        assert [e["id"] for e in events(asked.text)] == [str(n) for n in range(41, 51)]


async def test_a_refusal_before_the_first_event_has_its_own_status(
    service_environment: Environment,
) -> None:
    async with scripted(service_environment, Script()) as (gateway, ada):
        headers = {**ada.headers, "last-event-id": "bad"}
        answer = await gateway.http.get(WATCH, headers=headers)
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, "cursor")


async def test_silence_is_broken_by_heartbeats_and_leaving_ends_the_rpc(
    service_environment: Environment,
) -> None:
    script = Script(stays=True)
    async with scripted(service_environment, script, stream_heartbeat_s=0.1) as (gateway, ada):
        beats = 0
        async with gateway.http.stream("GET", WATCH, headers=ada.headers) as answer:
            async for line in answer.aiter_lines():
                beats += line == ": heartbeat"
                if beats == 3:
                    break
        assert script.ended == 0
        await eventually(lambda: script.ended == 1)


async def test_a_session_that_ends_takes_its_streams_along(
    service_environment: Environment,
) -> None:
    script = Script(stays=True)
    async with scripted(service_environment, script) as (gateway, ada):
        async with gateway.http.stream("GET", WATCH, headers=ada.headers) as answer:
            lines = answer.aiter_lines()
            assert await anext(lines)
            assert (await ada("POST", "/auth/logout")).is_success
            async with asyncio.timeout(5):
                rest = [line async for line in lines]
        assert "event: error" in rest
        assert any("SIGNED_OUT" in line for line in rest)


async def test_a_ticket_opens_one_stream_once(service_environment: Environment) -> None:
    async with scripted(service_environment, Script()) as (gateway, ada):
        made = await ada("POST", "/stream-tickets", {"path": WATCH})
        assert made.status_code == 201
        ticket = {"ticket": made.json()["ticket"]}
        other = WATCH.replace(RUN, RUN[::-1].replace("-", "0"))
        assert (await gateway.http.get(other, params=ticket)).status_code == 401
        assert (await gateway.http.get(f"/api/v1/runs/{RUN}", params=ticket)).status_code == 401
        opened = await gateway.http.get(WATCH, params=ticket)
        assert opened.status_code == 200
        assert (await gateway.http.get(WATCH, params=ticket)).status_code == 401
        assert (await gateway.http.get(WATCH)).status_code == 401
        token = {"access_token": ada.session["access_token"]}
        assert (await gateway.http.get(WATCH, params=token)).status_code == 401
        nowhere = await ada("POST", "/stream-tickets", {"path": "/api/v1/nowhere"})
        assert nowhere.json()["error"]["field"] == "path"


async def test_streams_end_when_the_gateway_does(service_environment: Environment) -> None:
    script = Script(stays=True)
    async with scripted(service_environment, script) as (gateway, ada):
        request = gateway.http.build_request("GET", WATCH, headers=ada.headers)
        answer = await gateway.http.send(request, stream=True)
        assert answer.status_code == 200
        reading = asyncio.create_task(answer.aread())
        await eventually(lambda: len(script.seen) == 1)
        gateway.running.context.draining.set()
        async with asyncio.timeout(3):
            await reading


async def test_a_client_that_does_not_read_is_cut_and_others_go_on(
    service_environment: Environment,
) -> None:
    script = Script(updates=100_000, padding="x" * 50_000)
    async with scripted(service_environment, script, stall_s=0.5) as (gateway, ada):
        with socket.socket() as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            host, port = gateway.url.removeprefix("http://").split(":")
            stalled.connect((host, int(port)))
            head = f"GET {WATCH} HTTP/1.1\r\nHost: x\r\n"
            token = f"Authorization: {ada.headers['authorization']}"
            stalled.sendall(f"{head}{token}\r\n\r\n".encode())
            await eventually(lambda: script.ended == 1, within_s=20)
        headers = {**ada.headers, "last-event-id": "99990"}
        rest = await gateway.http.get(WATCH, headers=headers)
        assert len(events(rest.text)) == 10


async def test_a_download_passes_whole_in_part_and_not_at_all(
    service_environment: Environment,
) -> None:
    path = f"/api/v1/checkpoints/{RUN}/download"
    async with scripted(service_environment, Script()) as (gateway, ada):
        whole = await gateway.http.get(path, headers=ada.headers)
        assert (whole.status_code, whole.content) == (200, FILE)
        part = await gateway.http.get(path, headers={**ada.headers, "range": "bytes=1000-"})
        assert (part.status_code, part.content) == (206, FILE[1000:])
        assert part.headers["content-range"].startswith("bytes 1000-")
        same = await gateway.http.get(path, headers={**ada.headers, "if-none-match": '"tag"'})
        assert (same.status_code, same.content) == (304, b"")
        head = await gateway.http.head(path, headers=ada.headers)
        assert (head.headers["content-length"], head.content) == (str(len(FILE)), b"")


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_upload_passes_in_pieces_after_its_header(
    service_environment: Environment, chunked: bool
) -> None:
    script = Script()
    digest = hashlib.sha256(FILE).hexdigest()

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(FILE), 100_000):
            yield FILE[at : at + 100_000]

    async with scripted(service_environment, script) as (gateway, ada):
        path = f"/api/v1/runs/{RUN}/checkpoints/{digest}"
        content = pieces() if chunked else FILE
        answer = await gateway.http.put(path, content=content, headers=ada.headers)
        assert (answer.status_code, answer.json()["id"]) == (201, RUN)
        assert script.stored == FILE
        first, *others = script.pieces
        assert (first.run_id, first.sha256) == (RUN, digest)
        assert first.size_bytes == (0 if chunked else len(FILE))
        assert all(len(piece.data) <= 1 << 18 for piece in script.pieces)
        assert not any(piece.run_id for piece in others)


async def test_an_upload_that_is_refused_early_or_too_large_is_answered(
    service_environment: Environment,
) -> None:
    script = Script()
    async with scripted(service_environment, script, upload_limit_bytes=2_000_000) as (
        gateway,
        ada,
    ):
        path = f"/api/v1/runs/{RUN}/checkpoints/{'0' * 64}"
        early = await gateway.http.put(path, content=FILE, headers=ada.headers)
        assert (early.status_code, early.json()["error"]["message"]) == (422, "refused early")
        large = await gateway.http.put(path, content=b"x" * 3_000_000, headers=ada.headers)
        assert (large.status_code, large.json()["error"]["reason"]) == (413, "TOO_LARGE")


async def test_every_upload_that_is_refused_while_it_is_written_hears_why(
    service_environment: Environment,
) -> None:
    async with scripted(service_environment, Script()) as (gateway, ada):
        path = f"/api/v1/runs/{RUN}/checkpoints/{'0' * 64}"
        for _ in range(10):
            uploads = (gateway.http.put(path, content=FILE, headers=ada.headers) for _ in range(4))
            answers = await asyncio.gather(*uploads)
            assert {answer.json()["error"]["message"] for answer in answers} == {"refused early"}
