"""SuiteService: suites and their versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elodrome.evaluator.v1 import suite_pb2, suite_service_pb2, suite_service_pb2_grpc
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from kit import errors, parse
from kit.auth import principal
from kit.db import new_id
from kit.page import list_page
from services.evaluator.content import parse_metrics, parse_scenarios
from services.evaluator.models.suite import (
    Suite,
    SuiteVersion,
    content_sha256,
    get_suite,
    get_version,
)

if TYPE_CHECKING:
    import grpc
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.db import Sessions

_MAX_DESCRIPTION = 2_000
_MAX_EVERY = 1_000_000


class SuiteServicer(suite_service_pb2_grpc.SuiteServiceServicer):
    """Creates and reads suites."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def CreateSuite(
        self, request: suite_service_pb2.CreateSuiteRequest, _context: grpc.aio.ServicerContext
    ) -> suite_pb2.Suite:
        """Create a suite with its version 1."""
        scenarios = parse_scenarios(request.scenarios, request.seeds)
        metrics = parse_metrics(request.metrics, scenarios[0]["game"])
        suite = Suite(
            id=new_id(),
            name=parse.slug(request.name, "name"),
            description=_parse_description(request.description),
            owner_id=principal().user_id,
            newest_version=0,
        )
        suite.set_auto_evaluate(_parse_rule(request.auto_evaluate))
        async with self._sessions.begin() as session:
            version = suite.add_version(scenarios, metrics, principal().user_id)
            session.add_all([suite, version])
            try:
                await session.flush()
            except IntegrityError as error:
                raise errors.already_exists(
                    f"there is a suite {suite.name}",
                    reason="SUITE_NAME_TAKEN",
                    field="name",
                    name=suite.name,
                ) from error
        return suite.to_proto(version)

    async def GetSuite(
        self, request: suite_service_pb2.GetSuiteRequest, _context: grpc.aio.ServicerContext
    ) -> suite_pb2.Suite:
        """Read a suite with one version."""
        suite_id = parse.uuid(request.id, "id")
        number = parse.integer(request.version, "version", minimum=0, maximum=2**31 - 1)
        async with self._sessions() as session:
            suite = await get_suite(session, suite_id)
            return suite.to_proto(await get_version(session, suite, number))

    async def ListSuites(
        self, request: suite_service_pb2.ListSuitesRequest, _context: grpc.aio.ServicerContext
    ) -> suite_service_pb2.ListSuitesResponse:
        """List suites with their newest versions."""
        query = select(Suite)
        if name := parse.text(request.name, "name", min_length=0, max_length=64):
            query = query.where(Suite.name == name)
        async with self._sessions() as session:
            suites, token, total = await list_page(
                session, query, Suite, request, convert=lambda suite: suite
            )
            newest = await _newest_versions(session, suites)
        return suite_service_pb2.ListSuitesResponse(
            items=[suite.to_proto(newest[suite.id]) for suite in suites],
            next_page_token=token,
            total=total,
        )

    async def UpdateSuite(
        self, request: suite_service_pb2.UpdateSuiteRequest, _context: grpc.aio.ServicerContext
    ) -> suite_pb2.Suite:
        """Change what is said about a suite and what it evaluates by itself."""
        async with self._sessions.begin() as session:
            suite = await _own_suite(session, parse.uuid(request.id, "id"))
            if request.HasField("description"):
                suite.description = _parse_description(request.description)
            if request.HasField("auto_evaluate"):
                suite.set_auto_evaluate(_parse_rule(request.auto_evaluate))
            await session.flush()
            return suite.to_proto(await get_version(session, suite, 0))

    async def CreateSuiteVersion(
        self,
        request: suite_service_pb2.CreateSuiteVersionRequest,
        _context: grpc.aio.ServicerContext,
    ) -> suite_pb2.SuiteVersion:
        """Create the next version, unless the newest says the same."""
        scenarios = parse_scenarios(request.scenarios, request.seeds)
        metrics = parse_metrics(request.metrics, scenarios[0]["game"])
        async with self._sessions.begin() as session:
            suite = await _own_suite(session, parse.uuid(request.suite_id, "suite_id"))
            newest = await get_version(session, suite, 0)
            if newest.sha256 == content_sha256(scenarios, metrics):
                return newest.to_proto()
            version = suite.add_version(scenarios, metrics, principal().user_id)
            session.add(version)
            await session.flush()
            return version.to_proto()

    async def ListSuiteVersions(
        self,
        request: suite_service_pb2.ListSuiteVersionsRequest,
        _context: grpc.aio.ServicerContext,
    ) -> suite_service_pb2.ListSuiteVersionsResponse:
        """List the versions of a suite."""
        suite_id = parse.uuid(request.suite_id, "suite_id")
        query = select(SuiteVersion).where(SuiteVersion.suite_id == suite_id)
        async with self._sessions() as session:
            await get_suite(session, suite_id)
            items, token, total = await list_page(
                session, query, SuiteVersion, request, convert=SuiteVersion.to_proto
            )
        return suite_service_pb2.ListSuiteVersionsResponse(
            items=items, next_page_token=token, total=total
        )


async def _own_suite(session: AsyncSession, suite_id: str) -> Suite:
    """Read a suite for a change; somebody else's does not exist for the caller."""
    suite = await get_suite(session, suite_id, lock=True)
    if not principal().owns(suite.owner_id):
        raise errors.not_found("suite", suite_id)
    return suite


async def _newest_versions(session: AsyncSession, suites: list[Suite]) -> dict[str, SuiteVersion]:
    query = (
        select(SuiteVersion)
        .join(Suite, Suite.id == SuiteVersion.suite_id)
        .where(SuiteVersion.number == Suite.newest_version)
        .where(Suite.id.in_([suite.id for suite in suites]))
    )
    return {version.suite_id: version for version in await session.scalars(query)}


def _parse_description(text: str) -> str:
    return parse.text(text, "description", min_length=0, max_length=_MAX_DESCRIPTION)


def _parse_rule(rule: suite_pb2.AutoEvaluateRule) -> suite_pb2.AutoEvaluateRule:
    parse.integer(rule.every, "auto_evaluate.every", minimum=0, maximum=_MAX_EVERY)
    if rule.everyone and not principal().roles & {"ADMIN", "OPERATOR"}:
        raise errors.permission_denied(
            "only administrators and operators may evaluate everybody's checkpoints",
            reason="EVERYONE_NOT_ALLOWED",
        )
    return rule
