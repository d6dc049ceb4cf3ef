"""Evaluations on suites of held-out seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from elodrome_sdk.cli.command import Cli, command
from elodrome_sdk.cli.options import PageSize, PageToken, parse_object, resolve_name
from elodrome_sdk.cli.output import Item, show_item, show_list, show_table
from elodrome_sdk.cli.watching import watch_evaluation

app = typer.Typer(no_args_is_help=True, help="Evaluate checkpoints on suites of held-out seeds.")

EvaluationId = Annotated[str, typer.Argument(metavar="EVALUATION_ID", help="Id of the evaluation.")]
COLUMNS = {
    "id": "id",
    "suite": "suite_name",
    "checkpoint": "checkpoint_id",
    "agent": "agent",
    "state": "state",
    "%": "percent",
    "created": "create_time",
}
CARD = {
    "id": "id",
    "suite": "suite_name",
    "suite version": "suite_version",
    "checkpoint": "checkpoint_id",
    "agent": "agent",
    "state": "state",
    "error": "error",
    "episodes": "episodes_done",
    "of": "episodes_total",
    "cached": "cached",
    "run": "run_id",
    "created": "create_time",
    "finished": "finish_time",
}
METRICS = {
    "metric": "metric",
    "mean": "mean",
    "lower": "lower",
    "upper": "upper",
    "episodes": "episode_count",
    "method": "method",
}
COMPARISON = {
    "metric": "metric",
    "base": "base.mean",
    "candidate": "candidate.mean",
    "delta": "delta",
    "lower": "lower",
    "upper": "upper",
    "p": "p_value",
    "test": "test",
    "verdict": "verdict",
}
SUITES = {
    "id": "id",
    "name": "name",
    "version": "newest_version",
    "description": "description",
}


@command(app, "run")
def run_evaluation(
    cli: Cli,
    suite: Annotated[str, typer.Option(help="Name or id of the suite.")],
    checkpoint: Annotated[str, typer.Option(help="Id of the checkpoint that plays.")] = "",
    agent: Annotated[str, typer.Option(help="Built-in agent that plays, such as random.")] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Play even if it is known.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end.")] = False,
) -> int | None:
    """Let a checkpoint or an agent play a suite."""
    if bool(checkpoint) == bool(agent):
        raise typer.BadParameter("give either --checkpoint or --agent")
    body: dict[str, Any] = {"suite_id": resolve_name(cli.client, "/suites", "suite", suite)}
    body |= {"checkpoint_id": checkpoint} if checkpoint else {"agent": agent}
    evaluation = cli.client.post("/evaluations", body | {"fresh": fresh})
    if watch:
        return watch_evaluation(cli, evaluation["id"])
    _show(cli, evaluation)
    return None


@command(app, "list")
def list_evaluations(
    cli: Cli,
    checkpoint: Annotated[str, typer.Option(help="Only of this checkpoint.")] = "",
    suite: Annotated[str, typer.Option(help="Only on this suite, by name or id.")] = "",
    state: Annotated[str, typer.Option(help="Only in this state.")] = "",
    limit: PageSize = 20,
    page: PageToken = "",
) -> None:
    """List evaluations, newest first."""
    found = cli.client.get(
        "/evaluations",
        checkpoint_id=checkpoint,
        suite_id=resolve_name(cli.client, "/suites", "suite", suite) if suite else "",
        state=state.upper(),
        page_size=limit,
        page_token=page,
    )
    show_list(cli, found, COLUMNS)


@command(app, "get")
def get_evaluation(cli: Cli, evaluation_id: EvaluationId) -> None:
    """Show one evaluation with its results."""
    _show(cli, cli.client.get(f"/evaluations/{evaluation_id}"))


@command(app, "cancel")
def cancel_evaluation(
    cli: Cli,
    evaluation_id: EvaluationId,
    reason: Annotated[str, typer.Option(help="Why; kept with the evaluation.")] = "",
) -> None:
    """Cancel an evaluation."""
    _show(cli, cli.client.post(f"/evaluations/{evaluation_id}/cancel", {"reason": reason}))


@command(app, "rerun")
def rerun_evaluation(cli: Cli, evaluation_id: EvaluationId) -> None:
    """Play an evaluation again."""
    _show(cli, cli.client.post(f"/evaluations/{evaluation_id}/rerun"))


@command(app, "compare")
def compare_evaluations(cli: Cli, base_id: EvaluationId, candidate_id: EvaluationId) -> None:
    """Compare two evaluations by statistics."""
    found = cli.client.get(
        "/evaluations:compare", base_evaluation_id=base_id, candidate_evaluation_id=candidate_id
    )
    if cli.as_json:
        cli.print_json(found)
        return
    show_table(cli, found["metrics"], COMPARISON)
    for warning in found.get("warnings", []):
        cli.err.print(f"note: {warning}", markup=False)


@command(app, "suites")
def list_suites(cli: Cli, limit: PageSize = 20, page: PageToken = "") -> None:
    """List suites."""
    show_list(cli, cli.client.get("/suites", page_size=limit, page_token=page), SUITES)


@command(app, "create-suite")
def create_suite(
    cli: Cli,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JSON file.")],
) -> None:
    """Create a suite from a JSON file with name, scenarios, seeds and metrics."""
    body = parse_object(file.read_text(encoding="utf-8"), str(file))
    show_item(cli, cli.client.post("/suites", body), SUITES)


def _show(cli: Cli, evaluation: Item) -> None:
    show_item(cli, evaluation, CARD)
    if not cli.as_json and evaluation.get("metrics"):
        show_table(cli, evaluation["metrics"], METRICS)
