"""SessionService: starts, records, ends and explains sessions."""

from __future__ import annotations

import asyncio
import base64
import binascii
from datetime import timedelta
from typing import TYPE_CHECKING

from elodrome.sessions.v1 import (
    events_pb2,
    session_pb2,
    session_service_pb2,
    session_service_pb2_grpc,
)
from sqlalchemy import func, select, tuple_

from kit import errors, parse
from kit.auth import principal
from kit.db import new_id
from kit.outbox import emit
from kit.page import list_page, page_size
from services.sessions.drills import DRILL_NAMES, MAX_DIFFICULTY, MIN_DIFFICULTY
from services.sessions.event_types import check_event, read_payload
from services.sessions.model import (
    Session,
    SessionEvent,
    SessionSummary,
    clock,
    finish,
)
from services.sessions.opponents import Wish, choose_opponent
from services.sessions.states import Mode, PinSource, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from grpc.aio import ServicerContext
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.server import Context
    from services.sessions.settings import SessionsSettings

DEFAULT_DIFFICULTY = 5
MAX_STYLE_CHARACTERS = 64
EVERYBODY = "-"
_WATCH_BATCH = 200


class SessionService(session_service_pb2_grpc.SessionServiceServicer):
    """Serves sessions to the people who play them."""

    def __init__(self, context: Context, settings: SessionsSettings) -> None:
        self._context = context
        self._settings = settings

    async def StartSession(
        self, request: session_service_pb2.StartSessionRequest, _context: ServicerContext
    ) -> session_pb2.Session:
        wish = _parse_start(request)
        owner_id = principal().user_id
        async with self._context.sessions() as db:
            if started := await _started_by(db, owner_id, request):
                return started.to_proto()
        opponent = await choose_opponent(self._context, wish, principal())
        async with self._context.sessions.begin() as db:
            await _lock_player(db, owner_id)
            # A repeat may have started the session while the registry was asked.
            if started := await _started_by(db, owner_id, request):
                return started.to_proto()
            await self._check_room(db, owner_id)
            session = await self._new_session(db, owner_id, request, opponent)
            db.add(session)
            await db.flush()
            emit(db, _started(session), about=session.id)
            return session.to_proto()

    async def RecordEvent(
        self, request: session_service_pb2.RecordEventRequest, _context: ServicerContext
    ) -> session_pb2.SessionEvent:
        session_id = parse.uuid(request.session_id, "session_id")
        event = _parse_event(request)
        async with self._context.sessions.begin() as db:
            # The lock keeps the order of arrival gapless and the end of the session final.
            session = await _session(db, session_id, lock=True)
            if session.owner_id != principal().user_id:
                raise errors.permission_denied(
                    "only the player records events", reason="NOT_THE_PLAYER"
                )
            if request.event_id and (stored := await _stored(db, session_id, event)):
                return stored.to_proto()
            session.record(
                event,
                now=await clock(db),
                idle_timeout_s=self._settings.session_idle_timeout_s,
                max_events=self._settings.session_max_events,
            )
            db.add(event)
            await db.flush()
            return event.to_proto()

    async def EndSession(
        self, request: session_service_pb2.EndSessionRequest, _context: ServicerContext
    ) -> session_pb2.Session:
        session_id = parse.uuid(request.id, "id")
        claimed = request.score if request.HasField("score") else None
        async with self._context.sessions.begin() as db:
            session = await _session(db, session_id, lock=True)
            mine = session.owner_id == principal().user_id
            reason = "ended by the player" if mine else "ended by staff"
            await finish(db, session, State.ENDED, reason, claimed_score=claimed)
            await db.flush()
            return session.to_proto()

    async def GetSession(
        self, request: session_service_pb2.GetSessionRequest, _context: ServicerContext
    ) -> session_pb2.Session:
        session_id = parse.uuid(request.id, "id")
        async with self._context.sessions() as db:
            return (await _session(db, session_id)).to_proto()

    async def ListSessions(
        self, request: session_service_pb2.ListSessionsRequest, _context: ServicerContext
    ) -> session_service_pb2.ListSessionsResponse:
        query = select(Session)
        if owner_id := _parse_owner(request.owner_id):
            query = query.where(Session.owner_id == owner_id)
        if request.state:
            state = parse.enum_value(request.state, "state", session_pb2.SessionState)
            query = query.where(Session.state == State.from_proto(state))
        if request.mode:
            mode = parse.enum_value(request.mode, "mode", session_pb2.SessionMode)
            query = query.where(Session.mode == Mode.from_proto(mode))
        if request.model_id:
            query = query.where(Session.model_id == parse.uuid(request.model_id, "model_id"))
        async with self._context.sessions() as db:
            items, token, total = await list_page(
                db, query, Session, request, convert=Session.to_proto
            )
        return session_service_pb2.ListSessionsResponse(
            items=items, next_page_token=token, total=total
        )

    async def ListSessionEvents(
        self, request: session_service_pb2.ListSessionEventsRequest, _context: ServicerContext
    ) -> session_service_pb2.ListSessionEventsResponse:
        session_id = parse.uuid(request.session_id, "session_id")
        size = page_size(request.page_size)
        query = select(SessionEvent).where(SessionEvent.session_id == session_id)
        if request.type:
            query = query.where(SessionEvent.type == request.type)
        in_time = tuple_(SessionEvent.t_ms, SessionEvent.sequence)
        page = query.order_by(SessionEvent.t_ms, SessionEvent.sequence).limit(size + 1)
        if request.page_token:
            page = page.where(in_time > tuple_(*_read_position(request.page_token)))
        async with self._context.sessions() as db:
            await _session(db, session_id)
            total = await db.scalar(select(func.count()).select_from(query.subquery()))
            rows = (await db.scalars(page)).all()
        return session_service_pb2.ListSessionEventsResponse(
            items=[row.to_proto() for row in rows[:size]],
            next_page_token=_write_position(rows[size - 1]) if len(rows) > size else "",
            total=total,
        )

    async def GetSummary(
        self, request: session_service_pb2.GetSummaryRequest, _context: ServicerContext
    ) -> session_pb2.SessionSummary:
        session_id = parse.uuid(request.id, "id")
        async with self._context.sessions() as db:
            session = await _session(db, session_id)
            summary = await db.get(SessionSummary, session_id)
        if summary is None:
            raise errors.failed_precondition(
                f"session {session.id} is still played; end it to get its summary",
                reason="SESSION_NOT_OVER",
            )
        return summary.to_proto()

    async def WatchSession(
        self, request: session_service_pb2.WatchSessionRequest, _context: ServicerContext
    ) -> AsyncIterator[session_service_pb2.WatchSessionResponse]:
        session_id = parse.uuid(request.id, "id")
        seen = _parse_cursor(request.cursor)
        while True:
            # Asked first: what is stored when the session is over is all there will be.
            async with self._context.sessions() as db:
                session = await _session(db, session_id)
                events = await _events_after(db, session_id, seen)
            for event in events:
                seen = event.sequence
                yield session_service_pb2.WatchSessionResponse(
                    cursor=str(seen), event=event.to_proto()
                )
            if session.state != State.ACTIVE and seen >= session.event_count:
                yield session_service_pb2.WatchSessionResponse(
                    cursor=str(seen), done=session.to_proto()
                )
                return
            if not events:
                await asyncio.sleep(self._settings.session_watch_interval_s)

    async def _check_room(self, db: AsyncSession, owner_id: str) -> None:
        active = select(func.count()).where(
            Session.owner_id == owner_id, Session.state == State.ACTIVE
        )
        limit = self._settings.session_max_active
        if (await db.scalar(active) or 0) >= limit:
            raise errors.resource_exhausted(
                f"you have {limit} active sessions, which is the most; end one first",
                reason="TOO_MANY_SESSIONS",
                retry_after_s=self._settings.session_idle_timeout_s,
                max_active=limit,
            )

    async def _new_session(
        self,
        db: AsyncSession,
        owner_id: str,
        request: session_service_pb2.StartSessionRequest,
        opponent: session_pb2.Opponent,
    ) -> Session:
        now = await clock(db)
        expire_time = now + timedelta(seconds=self._settings.session_time_limit_s)
        idle = now + timedelta(seconds=self._settings.session_idle_timeout_s)
        return Session(
            owner_id=owner_id,
            **_asked(request),
            model_id=opponent.model_id,
            model_name=opponent.model_name,
            version_id=opponent.version_id,
            version_number=opponent.version_number,
            checkpoint_id=opponent.checkpoint_id,
            sha256=opponent.sha256,
            styles=list(opponent.styles),
            pin_source=PinSource.from_proto(opponent.source),
            idle_expire_time=min(idle, expire_time),
            expire_time=expire_time,
        )


def _parse_start(request: session_service_pb2.StartSessionRequest) -> Wish:
    """Check the request; its ids come out in lower case."""
    parse.enum_value(request.mode, "mode", session_pb2.SessionMode)
    if request.HasField("difficulty"):
        parse.integer(
            request.difficulty, "difficulty", minimum=MIN_DIFFICULTY, maximum=MAX_DIFFICULTY
        )
    parse.optional_uuid(request.request_id, "request_id")
    is_drill = request.mode == session_pb2.SESSION_MODE_DRILL
    if request.drill and not is_drill:
        raise errors.invalid_argument("drill", "goes with mode DRILL only")
    if is_drill and request.drill not in DRILL_NAMES:
        raise errors.invalid_argument("drill", f"must be one of {', '.join(sorted(DRILL_NAMES))}")
    return Wish(
        model_id=parse.optional_uuid(request.model_id, "model_id") or "",
        version_id=parse.optional_uuid(request.version_id, "version_id") or "",
        style=parse.text(
            request.opponent_style,
            "opponent_style",
            max_length=MAX_STYLE_CHARACTERS,
            min_length=0,
        ),
    )


def _asked(request: session_service_pb2.StartSessionRequest) -> dict[str, object]:
    """Return what was asked for, as a session keeps it."""
    return {
        "request_id": parse.optional_uuid(request.request_id, "request_id"),
        "mode": Mode.from_proto(request.mode),
        "difficulty": request.difficulty or DEFAULT_DIFFICULTY,
        "opponent_style": request.opponent_style.strip(),
        "drill": request.drill,
    }


async def _started_by(
    db: AsyncSession, owner_id: str, request: session_service_pb2.StartSessionRequest
) -> Session | None:
    """Find the session that an earlier call with the same `request_id` started."""
    if not request.request_id:
        return None
    asked = _asked(request)
    query = select(Session).where(
        Session.owner_id == owner_id, Session.request_id == asked["request_id"]
    )
    session = await db.scalar(query)
    if session is None:
        return None
    fits_model = request.model_id.lower() in {"", session.model_id}
    fits_version = request.version_id.lower() in {"", session.version_id}
    same = all(getattr(session, name) == value for name, value in asked.items())
    if not (same and fits_model and fits_version):
        raise errors.already_exists(
            f"request_id {session.request_id} started another session",
            reason="REQUEST_ID_REUSED",
            field="request_id",
            session_id=session.id,
        )
    return session


def _parse_event(request: session_service_pb2.RecordEventRequest) -> SessionEvent:
    payload = read_payload(request.payload)
    check_event(request.type, request.t_ms, payload)
    return SessionEvent(
        id=parse.optional_uuid(request.event_id, "event_id") or new_id(),
        t_ms=request.t_ms,
        type=request.type,
        payload=payload,
    )


def _parse_owner(owner_id: str) -> str:
    """Return whose sessions are wanted; empty for everybody's."""
    caller = principal()
    if not owner_id:
        return caller.user_id
    if not caller.owns(owner_id.lower()):
        raise errors.permission_denied("only staff lists sessions of others", reason="NOT_OWNER")
    return "" if owner_id == EVERYBODY else parse.uuid(owner_id, "owner_id")


def _parse_cursor(cursor: str) -> int:
    """Return the sequence number of the last event seen, 0 for none."""
    if not cursor:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= len("100000")):
        raise errors.invalid_argument("cursor", "must be a cursor of this stream")
    return int(cursor)


async def _session(db: AsyncSession, session_id: str, *, lock: bool = False) -> Session:
    """Return the caller's session; NOT_FOUND when there is none or it is somebody else's."""
    session = await db.get(Session, session_id, with_for_update=lock or None)
    if session is None or not principal().owns(session.owner_id):
        raise errors.not_found("session", session_id)
    return session


async def _stored(db: AsyncSession, session_id: str, event: SessionEvent) -> SessionEvent | None:
    """Find the event that took this id; refuse when it says something else."""
    query = select(SessionEvent).where(
        SessionEvent.session_id == session_id, SessionEvent.id == event.id
    )
    stored = await db.scalar(query)
    if stored is not None and not event.repeats(stored):
        raise errors.already_exists(
            f"event_id {event.id} belongs to another event of this session",
            reason="EVENT_ID_REUSED",
            field="event_id",
        )
    return stored


async def _events_after(db: AsyncSession, session_id: str, sequence: int) -> list[SessionEvent]:
    query = (
        select(SessionEvent)
        .where(SessionEvent.session_id == session_id, SessionEvent.sequence > sequence)
        .order_by(SessionEvent.sequence)
        .limit(_WATCH_BATCH)
    )
    return list(await db.scalars(query))


async def _lock_player(db: AsyncSession, owner_id: str) -> None:
    """Let one start of a player pass at a time, so that repeats and the limit are seen."""
    await db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(owner_id, 0))))


def _started(session: Session) -> events_pb2.SessionStarted:
    return events_pb2.SessionStarted(
        session_id=session.id,
        owner_id=session.owner_id,
        mode=session.mode.wire_name,
        model_id=session.model_id,
        version_id=session.version_id,
        create_time=session.create_time,
    )


def _write_position(event: SessionEvent) -> str:
    return base64.urlsafe_b64encode(f"{event.t_ms}.{event.sequence}".encode()).decode()


def _read_position(token: str) -> tuple[int, int]:
    try:
        t_ms, _, sequence = base64.urlsafe_b64decode(token).decode("ascii").partition(".")
        return int(t_ms), int(sequence)
    except (binascii.Error, ValueError) as error:
        raise errors.invalid_argument(
            "page_token", "must be a next_page_token of this list", reason="INVALID_PAGE_TOKEN"
        ) from error
