"""Models, their versions and promotion."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from elodrome_sdk.cli.command import Cli, command
from elodrome_sdk.cli.options import PageSize, PageToken, resolve_name, resolve_version
from elodrome_sdk.cli.output import show_item, show_list

app = typer.Typer(no_args_is_help=True, help="Create models, publish and list their versions.")
promote_app = typer.Typer()

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name or id of the model.")]
COLUMNS = {
    "id": "id",
    "name": "name",
    "stable": "stable_version.number",
    "newest": "newest_version.number",
    "styles": "styles",
    "created": "create_time",
}
CARD = COLUMNS | {
    "description": "description",
    "owner": "owner_id",
    "private": "private",
    "stable version": "stable_version.id",
    "newest version": "newest_version.id",
}
VERSIONS = {
    "id": "id",
    "number": "number",
    "tag": "tag",
    "checkpoint": "checkpoint_id",
    "aliases": "aliases",
    "created": "create_time",
}
VERSION = {"model": "model_name"} | VERSIONS | {"sha256": "artifact.sha256", "metrics": "metrics"}
PROMOTIONS = {
    "id": "id",
    "version": "version_id",
    "number": "version_number",
    "kind": "kind",
    "decision": "decision_id",
    "reason": "reason",
    "when": "create_time",
}


@command(promote_app, "promote")
def promote(
    cli: Cli,
    version: Annotated[
        str,
        typer.Argument(metavar="VERSION", help="Id, NAME@ALIAS or NAME@NUMBER of the version."),
    ],
    decision: Annotated[str, typer.Option(help="Id of the gate decision that it passed.")] = "",
    override: Annotated[
        bool, typer.Option("--override", help="Promote without a gate; for admins.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why; required with --override.")] = "",
) -> None:
    """Make a version the stable one of its model."""
    if override and not reason:
        raise typer.BadParameter("--override needs --reason")
    body = {"decision_id": decision, "override": override, "reason": reason}
    version_id = resolve_version(cli.client, version)
    show_item(cli, cli.client.post(f"/versions/{version_id}/promote", body), PROMOTIONS)


@command(app, "list")
def list_models(
    cli: Cli,
    tag: Annotated[str, typer.Option(help="Only with a version of this tag.")] = "",
    limit: PageSize = 20,
    page: PageToken = "",
) -> None:
    """List models."""
    found = cli.client.get("/models", tag=tag, page_size=limit, page_token=page)
    show_list(cli, found, COLUMNS)


@command(app, "create")
def create_model(
    cli: Cli,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name, unique in the install.")],
    style: Annotated[
        list[str] | None, typer.Option(help="Play style that it offers; may be repeated.")
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    private: Annotated[bool, typer.Option("--private", help="Show it to nobody else.")] = False,
) -> None:
    """Create a model."""
    body = {
        "name": name,
        "styles": style or [],
        "description": description,
        "private": private,
    }
    show_item(cli, cli.client.post("/models", body), CARD)


@command(app, "get")
def get_model(cli: Cli, model: Model) -> None:
    """Show one model."""
    model_id = resolve_name(cli.client, "/models", "model", model)
    show_item(cli, cli.client.get(f"/models/{model_id}"), CARD)


@command(app, "publish")
def publish(
    cli: Cli,
    model: Model,
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT_ID", help="What to publish.")],
    description: Annotated[str, typer.Option(help="What changed.")] = "",
) -> None:
    """Publish a checkpoint as the next version of a model."""
    model_id = resolve_name(cli.client, "/models", "model", model)
    body: dict[str, Any] = {"checkpoint_id": checkpoint, "description": description}
    show_item(cli, cli.client.post(f"/models/{model_id}/versions", body), VERSION)


@command(app, "versions")
def list_versions(cli: Cli, model: Model, limit: PageSize = 20, page: PageToken = "") -> None:
    """List the versions of a model."""
    model_id = resolve_name(cli.client, "/models", "model", model)
    path = f"/models/{model_id}/versions"
    show_list(cli, cli.client.get(path, page_size=limit, page_token=page), VERSIONS)


@command(app, "promotions")
def list_promotions(cli: Cli, model: Model, limit: PageSize = 20, page: PageToken = "") -> None:
    """List what was promoted when, and why."""
    model_id = resolve_name(cli.client, "/models", "model", model)
    path = f"/models/{model_id}/promotions"
    show_list(cli, cli.client.get(path, page_size=limit, page_token=page), PROMOTIONS)


@command(app, "rollback")
def rollback(
    cli: Cli,
    model: Model,
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")] = "",
) -> None:
    """Make the version stable again that was stable before."""
    model_id = resolve_name(cli.client, "/models", "model", model)
    show_item(cli, cli.client.post(f"/models/{model_id}/rollback", {"reason": reason}), PROMOTIONS)
