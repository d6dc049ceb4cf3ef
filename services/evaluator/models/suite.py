"""A suite's versions never change: what was measured under a number stays what it was."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from elodrome.evaluator.v1 import suite_pb2
from sqlalchemy import ForeignKey, UniqueConstraint, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from games.catalogue import map_id
from kit import errors
from kit.db import Base, CreateTime, Id, Reference, UpdateTime
from services.evaluator.metrics import Goal

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


class Suite(Base):
    """A name for a line of versions, and which checkpoints are evaluated by themselves."""

    __tablename__ = "suites"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str]
    owner_id: Mapped[Reference]
    newest_version: Mapped[int]
    auto_every: Mapped[int] = mapped_column(default=0)
    auto_best: Mapped[bool] = mapped_column(default=False)
    auto_published: Mapped[bool] = mapped_column(default=False)
    auto_everyone: Mapped[bool] = mapped_column(default=False)
    create_time: Mapped[CreateTime]
    update_time: Mapped[UpdateTime]

    def set_auto_evaluate(self, rule: suite_pb2.AutoEvaluateRule) -> None:
        """Replace the whole rule."""
        self.auto_every = rule.every
        self.auto_best = rule.best
        self.auto_published = rule.published
        self.auto_everyone = rule.everyone

    def add_version(
        self, scenarios: list[dict[str, Any]], metrics: list[dict[str, str]], creator_id: str
    ) -> SuiteVersion:
        """Make the next version; the caller adds it to the session under this row's lock."""
        self.newest_version += 1
        return SuiteVersion(
            suite=self,
            number=self.newest_version,
            scenarios=scenarios,
            metrics=metrics,
            episode_count=sum(len(scenario["seeds"]) for scenario in scenarios),
            sha256=content_sha256(scenarios, metrics),
            creator_id=creator_id,
        )

    def to_proto(self, version: SuiteVersion) -> suite_pb2.Suite:
        """Say it on the wire, with one version inside."""
        return suite_pb2.Suite(
            id=self.id,
            name=self.name,
            description=self.description,
            owner_id=self.owner_id,
            version=version.to_proto(),
            newest_version=self.newest_version,
            auto_evaluate=suite_pb2.AutoEvaluateRule(
                every=self.auto_every,
                best=self.auto_best,
                published=self.auto_published,
                everyone=self.auto_everyone,
            ),
            create_time=self.create_time,
            update_time=self.update_time,
        )


class SuiteVersion(Base):
    """What is played and measured; a row is never updated."""

    __tablename__ = "suite_versions"
    __table_args__ = (UniqueConstraint("suite_id", "number"),)

    id: Mapped[Id]
    suite_id: Mapped[Reference] = mapped_column(ForeignKey("suites.id"))
    number: Mapped[int]
    scenarios: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    metrics: Mapped[list[dict[str, str]]] = mapped_column(JSONB)
    episode_count: Mapped[int]
    sha256: Mapped[str]
    creator_id: Mapped[Reference]
    create_time: Mapped[CreateTime]

    # Only orders the inserts; a version is always read through its suite.
    suite: Mapped[Suite] = relationship(lazy="raise")

    @property
    def metric_names(self) -> list[str]:
        """Names in the order of the suite."""
        return [metric["name"] for metric in self.metrics]

    def goal(self, metric: str) -> Goal:
        """Return which way `metric`, one of the suite's, is good."""
        return next(Goal(row["goal"]) for row in self.metrics if row["name"] == metric)

    def plays(self, scenario: str, seed: int) -> bool:
        """Say whether the episode belongs to this version."""
        return any(row["scenario"] == scenario and seed in row["seeds"] for row in self.scenarios)

    def to_proto(self) -> suite_pb2.SuiteVersion:
        """Say it on the wire."""
        return suite_pb2.SuiteVersion(
            id=self.id,
            suite_id=self.suite_id,
            number=self.number,
            scenarios=self.scenarios_to_proto(),
            metrics=self.metrics_to_proto(),
            episode_count=self.episode_count,
            sha256=self.sha256,
            creator_id=self.creator_id,
            create_time=self.create_time,
        )

    def scenarios_to_proto(self) -> list[suite_pb2.SuiteScenario]:
        """Say what is played."""
        return [
            suite_pb2.SuiteScenario(**row, map_id=map_id(row["game"], row["scenario"]))
            for row in self.scenarios
        ]

    def metrics_to_proto(self) -> list[suite_pb2.SuiteMetric]:
        """Say what is measured."""
        return [
            suite_pb2.SuiteMetric(name=row["name"], goal=f"METRIC_GOAL_{row['goal']}")
            for row in self.metrics
        ]


def content_sha256(scenarios: list[dict[str, Any]], metrics: list[dict[str, str]]) -> str:
    """Digest what a version plays and measures."""
    content = json.dumps([scenarios, metrics], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()


async def get_suite(session: AsyncSession, suite_id: str, *, lock: bool = False) -> Suite:
    """Read a suite, locked for a change if asked; raise NOT_FOUND."""
    suite = await session.get(Suite, suite_id, with_for_update=lock or None)
    if suite is None:
        raise errors.not_found("suite", suite_id)
    return suite


async def get_version(session: AsyncSession, suite: Suite, number: int) -> SuiteVersion:
    """Read one version, the newest for 0; raise NOT_FOUND."""
    number = number or suite.newest_version
    query = select(SuiteVersion).where(
        SuiteVersion.suite_id == suite.id, SuiteVersion.number == number
    )
    version = await session.scalar(query)
    if version is None:
        raise errors.not_found("suite version", f"{suite.name} v{number}")
    return version
