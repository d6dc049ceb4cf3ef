"""Create the tables of models, versions, promotions, checkpoints and the catalogue."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from kit.migrate import create_event_tables, drop_event_tables

revision = "0001"
down_revision = None

_UUID = sa.Uuid()
_MOMENT = sa.DateTime(timezone=True)
_NOW = sa.func.clock_timestamp()
_APPEND_ONLY = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the promotion history only grows';
END
$$
"""
_APPEND_ONLY_TRIGGER = """
CREATE TRIGGER promotions_append_only BEFORE UPDATE OR DELETE ON promotions
FOR EACH ROW EXECUTE FUNCTION refuse_change()
"""


def upgrade() -> None:
    create_event_tables()
    _create_catalogue()
    _create_checkpoints()
    _create_models()
    _create_promotions()


def downgrade() -> None:
    for table in (
        "aliases",
        "versions",
        "models",
        "checkpoints",
        "artifacts",
        "run_claims",
        "maps",
        "games",
        "promotions",
        "decisions",
    ):
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_change()")
    drop_event_tables()


def _create_catalogue() -> None:
    op.create_table(
        "games",
        sa.Column("id", _UUID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("config_schema", postgresql.JSONB(), nullable=False),
        sa.Column("config_defaults", postgresql.JSONB(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("update_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_games"),
        sa.UniqueConstraint("name", name="uq_games_name"),
    )
    op.create_table(
        "maps",
        sa.Column("id", _UUID, nullable=False),
        sa.Column("game_id", _UUID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("buttons", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("variables", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("timeout_tics", sa.BigInteger(), nullable=False),
        sa.Column("living_reward", sa.Double(), nullable=False),
        sa.Column("death_penalty", sa.Double(), nullable=False),
        sa.Column("skill", sa.BigInteger(), nullable=False),
        sa.Column("action_combinations", sa.Text(), nullable=False),
        sa.Column("config_defaults", postgresql.JSONB(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("update_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.ForeignKeyConstraint(["game_id"], ["games.id"], name="fk_maps_game_id"),
        sa.PrimaryKeyConstraint("id", name="pk_maps"),
        sa.UniqueConstraint("game_id", "name", name="uq_maps_game_id_name"),
    )


def _create_checkpoints() -> None:
    op.create_table(
        "artifacts",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("verify_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("corrupt_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_artifacts"),
    )
    op.create_table(
        "run_claims",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("owner_id", _UUID, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("update_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_run_claims"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("id", _UUID, nullable=False),
        sa.Column("run_id", _UUID, nullable=False),
        sa.Column("owner_id", _UUID, nullable=False),
        sa.Column("job_id", sa.Text(), server_default="", nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("iteration", sa.BigInteger(), nullable=False),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("manifest", postgresql.JSONB(), nullable=False),
        sa.Column("tensor_groups", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("metrics", postgresql.JSONB(), nullable=False),
        sa.Column("is_best", sa.Boolean(), nullable=False),
        sa.Column("load_count", sa.BigInteger(), nullable=False),
        sa.Column("commit_time", _MOMENT, nullable=True),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("update_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.ForeignKeyConstraint(["sha256"], ["artifacts.sha256"], name="fk_checkpoints_sha256"),
        sa.PrimaryKeyConstraint("id", name="pk_checkpoints"),
        sa.UniqueConstraint("run_id", "sha256", name="uq_checkpoints_run_id_sha256"),
    )
    op.create_index(
        "ix_checkpoints_owner_id_create_time", "checkpoints", ["owner_id", "create_time", "id"]
    )
    op.create_index("ix_checkpoints_sha256", "checkpoints", ["sha256"])
    op.create_index(
        "uq_checkpoints_best_of_run",
        "checkpoints",
        ["run_id"],
        unique=True,
        postgresql_where=sa.text("is_best"),
    )


def _create_models() -> None:
    op.create_table(
        "models",
        sa.Column("id", _UUID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("owner_id", _UUID, nullable=False),
        sa.Column("game_id", _UUID, nullable=True),
        sa.Column("map_id", _UUID, nullable=True),
        sa.Column("styles", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("private", sa.Boolean(), nullable=False),
        sa.Column("version_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("request_id", _UUID, nullable=True),
        sa.Column("delete_time", _MOMENT, nullable=True),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("update_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.ForeignKeyConstraint(["game_id"], ["games.id"], name="fk_models_game_id"),
        sa.ForeignKeyConstraint(["map_id"], ["maps.id"], name="fk_models_map_id"),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("owner_id", "request_id", name="uq_models_owner_id_request_id"),
    )
    op.create_index("ix_models_create_time", "models", ["create_time", "id"])
    op.create_index(
        "uq_models_name",
        "models",
        [sa.text("lower(name)")],
        unique=True,
        postgresql_where=sa.text("delete_time IS NULL"),
    )
    op.create_table(
        "versions",
        sa.Column("id", _UUID, nullable=False),
        sa.Column("model_id", _UUID, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("checkpoint_id", _UUID, nullable=False),
        sa.Column("metrics", postgresql.JSONB(), nullable=False),
        sa.Column("creator_id", _UUID, nullable=False),
        sa.Column("request_id", _UUID, nullable=True),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.Column("update_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"], ["checkpoints.id"], name="fk_versions_checkpoint_id"
        ),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_versions_model_id"),
        sa.PrimaryKeyConstraint("id", name="pk_versions"),
        sa.UniqueConstraint("model_id", "number", name="uq_versions_model_id_number"),
        sa.UniqueConstraint("model_id", "request_id", name="uq_versions_model_id_request_id"),
    )
    op.create_index("ix_versions_checkpoint_id", "versions", ["checkpoint_id"])
    op.create_index(
        "ix_versions_model_id_create_time", "versions", ["model_id", "create_time", "id"]
    )
    op.create_index(
        "uq_versions_stable_of_model",
        "versions",
        ["model_id"],
        unique=True,
        postgresql_where=sa.text("tag = 'stable'"),
    )
    op.create_table(
        "aliases",
        sa.Column("model_id", _UUID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version_id", _UUID, nullable=False),
        sa.Column("update_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_aliases_model_id"),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_aliases_version_id"),
        sa.PrimaryKeyConstraint("model_id", "name", name="pk_aliases"),
    )
    op.create_index("ix_aliases_version_id", "aliases", ["version_id"])


def _create_promotions() -> None:
    op.create_table(
        "decisions",
        sa.Column("id", _UUID, nullable=False),
        sa.Column("model_id", _UUID, nullable=False),
        sa.Column("checkpoint_id", _UUID, nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("decide_time", _MOMENT, nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_decisions"),
    )
    op.create_index(
        "ix_decisions_checkpoint_id_model_id",
        "decisions",
        ["checkpoint_id", "model_id", "decide_time"],
    )
    op.create_table(
        "promotions",
        sa.Column("id", _UUID, nullable=False),
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("model_id", _UUID, nullable=False),
        sa.Column("version_id", _UUID, nullable=False),
        sa.Column("version_number", sa.BigInteger(), nullable=False),
        sa.Column("previous_version_id", _UUID, nullable=True),
        sa.Column("kind", sa.BigInteger(), nullable=False),
        sa.Column("decision_id", _UUID, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=False),
        sa.Column("create_time", _MOMENT, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_promotions"),
        sa.UniqueConstraint("sequence", name="uq_promotions_sequence"),
    )
    op.create_index("ix_promotions_model_id_create_time", "promotions", ["model_id", "create_time"])
    op.create_index("ix_promotions_version_id", "promotions", ["version_id"])
    op.execute(_APPEND_ONLY)
    op.execute(_APPEND_ONLY_TRIGGER)
