"""Suites, evaluations with their episodes, gate policies and decisions, checkpoints heard of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from kit.migrate import create_event_tables, drop_event_tables

revision = "0001"
down_revision = None

_MOMENT = sa.DateTime(timezone=True)
_NOW = sa.func.clock_timestamp()


def upgrade() -> None:
    create_event_tables()
    op.create_table(
        "gate_decisions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("checkpoint_id", sa.Uuid(), nullable=False),
        sa.Column("checkpoint_sha256", sa.Text(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("policy_version", sa.BigInteger(), nullable=False),
        sa.Column("checks", postgresql.JSONB(), nullable=False),
        sa.Column("record", postgresql.JSONB(), nullable=False),
        sa.Column("record_sha256", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gate_decisions"),
    )
    op.create_index("ix_gate_decisions_model_id", "gate_decisions", ["model_id"])
    op.create_index("ix_gate_decisions_owner_id", "gate_decisions", ["owner_id"])
    op.create_index("ix_gate_decisions_version_id", "gate_decisions", ["version_id"])
    op.create_table(
        "gate_policies",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("newest_version", sa.BigInteger(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gate_policies"),
        sa.UniqueConstraint("name", name="uq_gate_policies_name"),
    )
    op.create_table(
        "saved_checkpoints",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("game", sa.Text(), nullable=False),
        sa.Column("scenario", sa.Text(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_saved_checkpoints"),
    )
    op.create_index("ix_saved_checkpoints_run_id", "saved_checkpoints", ["run_id"])
    op.create_table(
        "suites",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("newest_version", sa.BigInteger(), nullable=False),
        sa.Column("auto_every", sa.BigInteger(), nullable=False),
        sa.Column("auto_best", sa.Boolean(), nullable=False),
        sa.Column("auto_published", sa.Boolean(), nullable=False),
        sa.Column("auto_everyone", sa.Boolean(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("update_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_suites"),
        sa.UniqueConstraint("name", name="uq_suites_name"),
    )
    op.create_table(
        "gate_policy_versions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("rules", postgresql.JSONB(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("creator_id", sa.Uuid(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["policy_id"], ["gate_policies.id"], name="fk_gate_policy_versions_policy_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_gate_policy_versions"),
        sa.UniqueConstraint("policy_id", "number", name="uq_gate_policy_versions_policy_id_number"),
    )
    op.create_table(
        "suite_versions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("suite_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("scenarios", postgresql.JSONB(), nullable=False),
        sa.Column("metrics", postgresql.JSONB(), nullable=False),
        sa.Column("episode_count", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("creator_id", sa.Uuid(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.ForeignKeyConstraint(["suite_id"], ["suites.id"], name="fk_suite_versions_suite_id"),
        sa.PrimaryKeyConstraint("id", name="pk_suite_versions"),
        sa.UniqueConstraint("suite_id", "number", name="uq_suite_versions_suite_id_number"),
    )
    op.create_table(
        "evaluations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("suite_id", sa.Uuid(), nullable=False),
        sa.Column("suite_name", sa.Text(), nullable=False),
        sa.Column("suite_version", sa.BigInteger(), nullable=False),
        sa.Column("suite_version_id", sa.Uuid(), nullable=False),
        sa.Column("checkpoint_id", sa.Uuid()),
        sa.Column("checkpoint_sha256", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("episodes_done", sa.BigInteger(), nullable=False),
        sa.Column("episodes_total", sa.BigInteger(), nullable=False),
        sa.Column("results", postgresql.JSONB()),
        sa.Column("bootstrap_seed", sa.BigInteger(), nullable=False),
        sa.Column("source_evaluation_id", sa.Uuid()),
        sa.Column("rerun_of_id", sa.Uuid()),
        sa.Column("trigger", sa.String(16), nullable=False),
        sa.Column("run_id", sa.Uuid()),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("run_owner_id", sa.Uuid(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("environment_version", sa.Text(), nullable=False),
        sa.Column("time_limit_s", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("stop_due", sa.Boolean(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("start_time", _MOMENT),
        sa.Column("finish_time", _MOMENT),
        sa.Column("update_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.CheckConstraint(
            "(checkpoint_id IS NULL) <> (agent = '')", name="ck_evaluations_one_subject"
        ),
        sa.CheckConstraint(
            "state IN ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED')",
            name="ck_evaluations_state",
        ),
        sa.ForeignKeyConstraint(
            ["suite_version_id"], ["suite_versions.id"], name="fk_evaluations_suite_version_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_evaluations"),
    )
    op.create_index(
        "ix_evaluations_active",
        "evaluations",
        ["id"],
        postgresql_where=sa.text("state IN ('PENDING','RUNNING')"),
    )
    op.create_index("ix_evaluations_checkpoint_id", "evaluations", ["checkpoint_id"])
    op.create_index(
        "ix_evaluations_owner_id_create_time", "evaluations", ["owner_id", "create_time"]
    )
    op.create_index("ix_evaluations_run_id", "evaluations", ["run_id"])
    op.create_index(
        "ix_evaluations_stop_due", "evaluations", ["id"], postgresql_where=sa.text("stop_due")
    )
    op.create_index(
        "ix_evaluations_subject", "evaluations", ["suite_version_id", "checkpoint_sha256", "agent"]
    )
    op.create_table(
        "episodes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("evaluation_id", sa.Uuid(), nullable=False),
        sa.Column("scenario", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("metrics", postgresql.JSONB(), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluations.id"], name="fk_episodes_evaluation_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_episodes"),
        sa.UniqueConstraint(
            "evaluation_id", "scenario", "seed", name="uq_episodes_evaluation_id_scenario_seed"
        ),
    )


def downgrade() -> None:
    for table in (
        "episodes",
        "evaluations",
        "suite_versions",
        "gate_policy_versions",
        "suites",
        "saved_checkpoints",
        "gate_policies",
        "gate_decisions",
    ):
        op.drop_table(table)
    drop_event_tables()
