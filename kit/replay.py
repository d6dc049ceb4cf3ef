"""Applies dead letters again: `python -m kit.replay registry`, `--list` to look at them first.

An event that is applied leaves the table; one that fails again stays with its new reason.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import select

from kit import inbox, log
from kit.inbox import DeadLetter, Letter
from kit.server import built, opened
from kit.settings import SERVICES, ServiceSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kit.bus import Consumer
    from kit.db import Sessions
    from kit.server import Build

logger = structlog.get_logger("kit.replay")


async def replay(
    sessions: Sessions, consumers: list[Consumer], *, event_ids: Sequence[str] = ()
) -> dict[str, str]:
    """Apply the dead letters, oldest first; return the outcome by event id: applied or the error.

    `event_ids` limits it to some; an id that is not there raises LookupError.
    """
    outcomes = {}
    for row in await dead_letters(sessions, event_ids):
        letter = Letter(row.event_id, row.subject, row.payload, row.request_id, row.traceparent)
        outcomes[row.event_id] = await _apply(sessions, consumers, letter)
    return outcomes


async def dead_letters(sessions: Sessions, event_ids: Sequence[str] = ()) -> Sequence[DeadLetter]:
    """Return the dead letters, oldest first, or those with the given ids."""
    query = select(DeadLetter).order_by(DeadLetter.create_time)
    if event_ids:
        query = query.where(DeadLetter.event_id.in_(event_ids))
    async with sessions() as session:
        rows = (await session.scalars(query)).all()
    if missing := set(event_ids) - {row.event_id for row in rows}:
        raise LookupError(f"no dead letter {', '.join(sorted(missing))}")
    return rows


async def _apply(sessions: Sessions, consumers: list[Consumer], letter: Letter) -> str:
    for consumer in consumers:
        if letter.event_name not in consumer.handlers:
            continue
        try:
            await consumer.handlers.apply(sessions, letter, consumer.durable)
        except Exception as error:
            logger.exception("replay_failed", subject=letter.subject)
            await inbox.bury(sessions, letter, repr(error))
            return repr(error)
        return "applied"
    return f"no consumer handles {letter.event_name}"


async def _run(
    settings: ServiceSettings, build: Build, *, listing: bool, event_ids: list[str]
) -> bool:
    async with opened(settings) as context:
        if listing:
            for row in await dead_letters(context.sessions, event_ids):
                print(row.event_id, row.create_time.isoformat(), row.subject, row.error)  # noqa: T201
            return True
        parts = await built(context, build)
        try:
            outcomes = await replay(context.sessions, parts.consumers, event_ids=event_ids)
        finally:
            if parts.close is not None:
                await parts.close()
        for event_id, outcome in outcomes.items():
            print(event_id, outcome)  # noqa: T201 - the answer of a command
        return all(outcome == "applied" for outcome in outcomes.values())


def _parts_of(service: str) -> tuple[type[ServiceSettings], Build]:
    """Find the settings class and `build` in the service's `__main__`."""
    module = importlib.import_module(f"services.{service}.__main__")
    settings_class = next(
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, ServiceSettings)
        and getattr(value, "service", "") == service
    )
    return settings_class, module.build


def main() -> None:
    """Replay the dead letters of the service named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m kit.replay", description=__doc__)
    parser.add_argument("service", choices=SERVICES)
    parser.add_argument("event_ids", nargs="*", help="only these events; all when none is named")
    parser.add_argument(
        "--list", action="store_true", help="print the dead letters, change nothing"
    )
    arguments = parser.parse_args()
    log.configure(arguments.service)
    settings_class, build = _parts_of(arguments.service)
    done = asyncio.run(
        _run(settings_class.load(), build, listing=arguments.list, event_ids=arguments.event_ids)
    )
    sys.exit(0 if done else 1)


if __name__ == "__main__":
    main()
