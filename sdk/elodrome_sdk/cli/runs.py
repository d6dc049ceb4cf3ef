"""Training runs: start, look at, steer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from elodrome_sdk.cli.command import Cli, ExitCode, command
from elodrome_sdk.cli.options import PageSize, PageToken, parse_object, parse_setting, resolve_name
from elodrome_sdk.cli.output import Item, show_item, show_list, show_table
from elodrome_sdk.cli.watching import watch_run

app = typer.Typer(no_args_is_help=True, help="List, inspect and steer runs.")
start_app = typer.Typer()

RunId = Annotated[str, typer.Argument(metavar="RUN_ID", help="Id of the run.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a config key; may be repeated."),
]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Follow it until it has settled.")]

COLUMNS = {
    "id": "id",
    "name": "name",
    "type": "type",
    "state": "state",
    "done %": "progress.progress_percent",
    "cpu s": "cpu_s",
    "attempt": "attempt",
    "created": "create_time",
}
CARD = {
    "id": "id",
    "name": "name",
    "type": "type",
    "state": "state",
    "asked for": "requested_state",
    "reason": "reason",
    "error": "last_error",
    "warnings": "warnings",
    "game": "game",
    "config": "config",
    "seed": "seed",
    "model": "model_id",
    "tags": "tags",
    "iteration": "progress.current_iteration",
    "of": "progress.max_iterations",
    "phase": "progress.phase",
    "steps/s": "progress.steps_per_s",
    "cpu s": "cpu_s",
    "of cpu s": "cpu_limit_s",
    "latest": "latest_metrics",
    "checkpoints": "checkpoint_count",
    "certificate": "certificate.state",
    "attempt": "attempt",
    "queue": "queue_position",
    "created": "create_time",
    "ended": "end_time",
}
JOB_COLUMNS = {
    "attempt": "attempt",
    "id": "id",
    "state": "state",
    "outcome": "outcome",
    "exit": "exit_code",
    "cpu s": "cpu_s",
    "reason": "reason",
    "started": "start_time",
    "ended": "end_time",
}
CERTIFICATE = {
    "certificate": "state",
    "reason": "reason",
    "run": "certification_run_id",
    "seed": "seed",
    "from": "start_checkpoint.iteration",
    "to": "end_checkpoint.iteration",
    "sha256": "expected_sha256",
    "replayed": "replayed_sha256",
    "ended": "end_time",
}
PROVENANCE = {
    "attempt": "attempt",
    "commit": "commit",
    "dirty": "dirty",
    "image": "image_digest",
    "python": "python_version",
    "system": "platform",
    "cpu": "cpu_model",
    "cores": "cpu_count",
    "torch threads": "torch_threads",
    "gpu": "gpu",
    "packages": "packages",
}


@command(start_app, "run")
def run(
    cli: Cli,
    algorithm: Annotated[str, typer.Option(help="Algorithm that learns.")] = "PPO",
    game: Annotated[str, typer.Option(help="Game to learn.")] = "doom",
    scenario: Annotated[str, typer.Option(help="Scenario of the game; the game's first.")] = "",
    config: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSON file with the config.")
    ] = None,
    settings: Settings = None,
    max_iterations: Annotated[int | None, typer.Option(help="Iterations to train.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed; chosen and stored when absent.")] = None,
    name: Annotated[str, typer.Option(help="Name of the run.")] = "",
    model: Annotated[str, typer.Option(help="Name or id of the model to train for.")] = "",
    group: Annotated[str, typer.Option(help="Experiment that it belongs to.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="Tag; may be repeated.")] = None,
    time_limit_s: Annotated[int | None, typer.Option(help="Seconds it may take.")] = None,
    cpu_limit_s: Annotated[int, typer.Option(help="CPU seconds it may use; 0: any.")] = 0,
    cpus: Annotated[float, typer.Option(help="CPUs of a worker; 0: the install's.")] = 0,
    memory_gib: Annotated[float, typer.Option(help="Memory of a worker; 0: the install's.")] = 0,
    gpus: Annotated[int, typer.Option(help="GPUs of a worker; 0: the install's.")] = 0,
    watch: Watch = False,
) -> int | None:
    """Start a training run.

    A config file is taken as it is; --set changes keys of it. Without a file the config is made of
    --algorithm, --game and --scenario.
    """
    wanted: dict[str, Any] = {"algorithm": algorithm, "game": game}
    if scenario:
        wanted["scenario"] = scenario
    if config is not None:
        wanted = parse_object(config.read_text(encoding="utf-8"), "--config")
    if max_iterations is not None:
        wanted["max_iterations"] = max_iterations
    wanted |= dict(parse_setting(text) for text in settings or [])
    body: dict[str, Any] = {
        "type": "TRAINING",
        "name": name,
        "config": wanted,
        "group": group,
        "tags": tag or [],
        "cpu_limit_s": cpu_limit_s,
        "resources": {"cpus": cpus, "memory_bytes": round(memory_gib * 2**30), "gpus": gpus},
    }
    if seed is not None:
        body["seed"] = seed
    if time_limit_s is not None:
        body["time_limit_s"] = time_limit_s
    if model:
        body["model_id"] = resolve_name(cli.client, "/models", "model", model)
    started = cli.client.post("/runs", body)
    if watch:
        return watch_run(cli, started["id"])
    _show(cli, started)
    if not cli.as_json:
        cli.err.print(f"follow it with: elodrome watch {started['id']}")
    return None


@command(app, "list")
def list_runs(
    cli: Cli,
    state: Annotated[list[str] | None, typer.Option(help="Only this state; repeatable.")] = None,
    type_: Annotated[str, typer.Option("--type", help="TRAINING, EVALUATION …")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="Only with this tag; repeatable.")] = None,
    group: Annotated[str, typer.Option(help="Only this experiment.")] = "",
    limit: PageSize = 20,
    page: PageToken = "",
) -> None:
    """List runs, newest first."""
    found = cli.client.get(
        "/runs",
        states=[one.upper() for one in state or []] or None,
        type=type_.upper(),
        tags=tag or None,
        group=group,
        page_size=limit,
        page_token=page,
    )
    show_list(cli, found, COLUMNS)


@command(app, "get")
def get_run(cli: Cli, run_id: RunId) -> None:
    """Show one run."""
    _show(cli, cli.client.get(f"/runs/{run_id}"))


def _add_verb(verb: str, what: str) -> None:
    def act(cli: Cli, run_id: RunId) -> None:
        _show(cli, cli.client.post(f"/runs/{run_id}/{verb}"))

    act.__doc__ = what
    command(app, verb)(act)


_add_verb("stop", "Stop a run with a last checkpoint.")
_add_verb("cancel", "Cancel a run that has not begun, or end one at once.")
_add_verb("pause", "Pause a run; its checkpoint keeps its place.")
_add_verb("resume", "Go on with a paused run.")
_add_verb("retry", "Try a failed run again.")


@command(app, "clone")
def clone_run(
    cli: Cli,
    run_id: RunId,
    settings: Settings = None,
    name: Annotated[str, typer.Option(help="Name of the new run.")] = "",
    seed: Annotated[int | None, typer.Option(help="Another seed.")] = None,
) -> None:
    """Start a run like another one, with changes to its config."""
    overrides = dict(parse_setting(text) for text in settings or [])
    body: dict[str, Any] = {"overrides": overrides, "name": name}
    if seed is not None:
        body["seed"] = seed
    _show(cli, cli.client.post(f"/runs/{run_id}/clone", body))


@command(app, "certify")
def certify_run(
    cli: Cli,
    run_id: RunId,
    seed: Annotated[int | None, typer.Option(help="Seed that draws the interval.")] = None,
    watch: Watch = False,
) -> int | None:
    """Have a settled training proved: repeat an interval between two checkpoints and compare.

    With --watch the exit code is 0 if the run is certified and 1 if not.
    """
    asked = cli.client.post(f"/runs/{run_id}/certify", {} if seed is None else {"seed": seed})
    certificate = asked["certificate"]
    if not watch:
        show_item(cli, certificate, CERTIFICATE)
        return None
    watch_run(cli, certificate["certification_run_id"])
    certificate = cli.client.get(f"/runs/{run_id}")["certificate"]
    show_item(cli, certificate, CERTIFICATE)
    return ExitCode.OK if certificate["state"] == "CERTIFIED" else ExitCode.FAILED


@command(app, "provenance")
def show_provenance(
    cli: Cli,
    run_id: RunId,
    attempt: Annotated[int, typer.Option(help="Which attempt; 0 is the latest.")] = 0,
    diff: Annotated[bool, typer.Option("--diff", help="The uncommitted changes alone.")] = False,
) -> None:
    """Show what a run was made of: code, packages, machine."""
    found = cli.client.get(f"/runs/{run_id}/provenance", attempt=attempt or None)
    if diff and not cli.as_json:
        cli.print_text(found.get("diff", ""))
        return
    show_item(cli, found, PROVENANCE)


@command(app, "diff")
def diff_runs(cli: Cli, run_id: RunId, other_id: RunId) -> None:
    """Show the config keys in which two runs differ."""
    found = cli.client.get(f"/runs/{run_id}/diff/{other_id}")
    if cli.as_json:
        cli.print_json(found)
    else:
        columns = {"key": "key", run_id[:8]: "left", other_id[:8]: "right"}
        show_table(cli, found["differences"], columns)


@command(app, "delete")
def delete_run(cli: Cli, run_id: RunId) -> None:
    """Delete a run that has settled."""
    answer = cli.client.delete(f"/runs/{run_id}")
    if cli.as_json:
        cli.print_json(answer)
    else:
        cli.out.print(f"deleted {run_id}")


@command(app, "jobs")
def list_jobs(cli: Cli, run_id: RunId, limit: PageSize = 20, page: PageToken = "") -> None:
    """List the attempts of a run."""
    found = cli.client.get(f"/runs/{run_id}/jobs", page_size=limit, page_token=page)
    show_list(cli, found, JOB_COLUMNS)


@command(app, "metrics")
def show_metrics(cli: Cli, run_id: RunId) -> None:
    """Show the latest value of every metric of a run."""
    found = cli.client.get(f"/runs/{run_id}/metrics/latest")
    columns = {name: name for name in ("name", "step", "value", "min", "max", "mean", "count")}
    if cli.as_json:
        cli.print_json(found)
    else:
        show_table(cli, found["series"], columns)


@command(app, "schema")
def show_schema(cli: Cli) -> None:
    """Print the JSON Schema of a training config."""
    cli.print_json(cli.client.get("/run-config-schema")["schema"])


def _show(cli: Cli, item: Item) -> None:
    shown = item if cli.as_json else item | {"config": json.dumps(item.get("config"))}
    show_item(cli, shown, CARD)
