"""The bus lets each service do its part and nothing else; the server refuses, not the client."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import nats
import pytest
from nats import errors as nats_errors

from deploy import bus
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.client import Client

    from deploy.laptop.broker import RunningBroker


@asynccontextmanager
async def connected(
    server: RunningBroker, user: str, prefix: str = ""
) -> AsyncIterator[tuple[Client, list[str]]]:
    """Connect as a bus user; yield the client and what the server refuses it."""
    refusals: list[str] = []

    async def note(error: Exception) -> None:
        refusals.append(str(error).lower())

    client = await nats.connect(
        server.url,
        user=user,
        password=server.password(user),
        inbox_prefix=(prefix or bus.inbox_prefix(user)).encode(),
        allow_reconnect=False,
        error_cb=note,
    )
    try:
        yield client, refusals
    finally:
        await client.close()


def told(refusals: list[str], what: str, subject: str) -> bool:
    """Say whether the server refused a subject, by its own words."""
    words = f'permissions violation for {what} to "{subject.lower()}"'
    return any(words in refusal for refusal in refusals)


async def stored(server: RunningBroker) -> dict[str, tuple[int, int]]:
    """Return messages and consumers of every stream."""
    async with connected(server, bus.ADMIN) as (client, _):
        found = {}
        for stream in bus.STREAMS:
            info = await client.jsm().stream_info(stream.name)
            found[stream.name] = (info.state.messages, info.state.consumer_count)
        return found


@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"user": "registry", "password": ""},
        {"user": "root", "password": "root"},
        {"token": "x"},
    ],
)
async def test_nobody_connects_without_a_password(
    nats_server: RunningBroker, credentials: dict[str, Any]
) -> None:
    async def silent(_: Exception) -> None:
        pass

    with pytest.raises(nats_errors.Error, match=r"(?i)authorization"):
        await nats.connect(
            nats_server.url,
            allow_reconnect=False,
            max_reconnect_attempts=0,
            error_cb=silent,
            **credentials,
        )


@pytest.mark.parametrize("service", bus.SERVICES)
async def test_a_service_publishes_its_own_events_alone(
    nats_server: RunningBroker, service: str
) -> None:
    before = await stored(nats_server)
    foreign = [
        stream.subjects.replace(">", "Anything.x")
        for stream in bus.STREAMS
        if stream.publisher != service
    ]
    control = [
        f"$JS.API.{call}"
        for call in (
            "INFO",
            "STREAM.NAMES",
            "STREAM.CREATE.MINE",
            "STREAM.UPDATE.REGISTRY",
            "STREAM.DELETE.REGISTRY",
            "STREAM.PURGE.REGISTRY",
            "STREAM.MSG.GET.ACCOUNTS",
            "STREAM.RESTORE.REGISTRY",
            "DIRECT.GET.ACCOUNTS",
            "CONSUMER.CREATE.ACCOUNTS.spy",
            "CONSUMER.DURABLE.CREATE.ACCOUNTS.spy",
            "CONSUMER.DELETE.REGISTRY.evaluator",
            "CONSUMER.MSG.NEXT.ACCOUNTS.spy",
        )
    ]
    inboxes = [f"{bus.inbox_prefix(other)}.x" for other in bus.SERVICES if other != service]
    async with connected(nats_server, service) as (client, refusals):
        for subject in (*foreign, *control, *inboxes, "$SYS.REQ.SERVER.PING", "anything"):
            await client.publish(subject, b"{}")
            await eventually(partial(told, refusals, "publish", subject))
    assert await stored(nats_server) == before


@pytest.mark.parametrize("service", [*bus.SERVICES, bus.ADMIN])
async def test_a_user_hears_its_own_inbox_alone(nats_server: RunningBroker, service: str) -> None:
    others = [user for user in (*bus.SERVICES, bus.ADMIN) if user != service]
    subjects = [
        *(f"{bus.inbox_prefix(other)}.>" for other in others),
        *(stream.subjects for stream in bus.STREAMS),
        ">",
        "*.>",
        "_INBOX.>",
        "$JS.>",
        "$SYS.>",
    ]
    async with connected(nats_server, service) as (client, refusals):
        for subject in subjects:
            for queue in ("", "q"):
                refusals.clear()
                await client.subscribe(subject, queue=queue)
                await eventually(partial(told, refusals, "subscription", subject))
        refusals.clear()
        await client.subscribe(f"{bus.inbox_prefix(service)}.mine")
        await client.flush()
        assert not refusals


async def test_the_administrator_of_the_bus_publishes_no_event(nats_server: RunningBroker) -> None:
    before = await stored(nats_server)
    async with connected(nats_server, bus.ADMIN) as (client, refusals):
        for stream in bus.STREAMS:
            await client.publish(stream.subjects.replace(">", "Anything.x"), b"")
        await eventually(lambda: len(refusals) == len(bus.STREAMS))
    assert await stored(nats_server) == before
