"""Gates decide whether a version may be promoted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elodrome_sdk.cli.command import Cli, ExitCode, command
from elodrome_sdk.cli.options import (
    PageSize,
    PageToken,
    parse_object,
    resolve_name,
    resolve_version,
)
from elodrome_sdk.cli.output import Item, show_item, show_list, show_table

app = typer.Typer(no_args_is_help=True, help="Let a gate decide, and look at its decisions.")

DecisionId = Annotated[str, typer.Argument(metavar="DECISION_ID", help="Id of the decision.")]
COLUMNS = {
    "id": "id",
    "passed": "passed",
    "model": "model_id",
    "version": "version_id",
    "created": "create_time",
}
CARD = COLUMNS | {"checkpoint": "checkpoint_id", "record": "record_sha256"}
CHECKS = {
    "rule": "rule",
    "check": "kind",
    "state": "state",
    "value": "value",
    "threshold": "threshold",
    "p": "p_value",
    "message": "message",
}
POLICIES = {
    "id": "id",
    "name": "name",
    "version": "version",
    "confidence": "confidence",
    "description": "description",
}


@command(app, "decide")
def decide(
    cli: Cli,
    policy: Annotated[str, typer.Option(help="Name or id of the policy.")],
    version: Annotated[str, typer.Option(help="Id, NAME@ALIAS or NAME@NUMBER of the version.")],
    evaluation: Annotated[str, typer.Option(help="Its evaluation; the newest if absent.")] = "",
) -> int:
    """Let a gate decide about a version; the exit code is 1 if it did not pass."""
    decision = cli.client.post(
        "/gates/decide",
        {
            "policy_id": resolve_name(cli.client, "/gate-policies", "policy", policy),
            "version_id": resolve_version(cli.client, version),
            "evaluation_id": evaluation,
        },
    )
    _show(cli, decision)
    return ExitCode.OK if decision["passed"] else ExitCode.FAILED


@command(app, "get")
def get_decision(cli: Cli, decision_id: DecisionId) -> None:
    """Show a decision with its checks."""
    _show(cli, cli.client.get(f"/decisions/{decision_id}"))


@command(app, "list")
def list_decisions(
    cli: Cli,
    model: Annotated[str, typer.Option(help="Only about this model, by name or id.")] = "",
    limit: PageSize = 20,
    page: PageToken = "",
) -> None:
    """List decisions, newest first."""
    model_id = resolve_name(cli.client, "/models", "model", model) if model else ""
    found = cli.client.get("/decisions", model_id=model_id, page_size=limit, page_token=page)
    show_list(cli, found, COLUMNS)


@command(app, "recompute")
def recompute(cli: Cli, decision_id: DecisionId) -> int:
    """Compute a decision again from its record alone; the exit code is 1 if it differs."""
    found = cli.client.post(f"/decisions/{decision_id}:recompute")
    columns = {"equal": "equal", "passed": "passed", "differences": "differences"}
    show_item(cli, found, columns)
    return ExitCode.OK if found["equal"] else ExitCode.FAILED


@command(app, "policies")
def list_policies(cli: Cli, limit: PageSize = 20, page: PageToken = "") -> None:
    """List gate policies."""
    show_list(cli, cli.client.get("/gate-policies", page_size=limit, page_token=page), POLICIES)


@command(app, "create-policy")
def create_policy(
    cli: Cli,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JSON file.")],
) -> None:
    """Create a gate policy from a JSON file with name and rules."""
    body = parse_object(file.read_text(encoding="utf-8"), str(file))
    show_item(cli, cli.client.post("/gate-policies", body), POLICIES)


def _show(cli: Cli, decision: Item) -> None:
    show_item(cli, decision, CARD)
    if not cli.as_json:
        show_table(cli, decision.get("checks", []), CHECKS)
