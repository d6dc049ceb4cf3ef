"""Checkpoints of runs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from elodrome_sdk.cli.command import Cli, ExitCode, command
from elodrome_sdk.cli.options import PageSize, PageToken
from elodrome_sdk.cli.output import show_item, show_list

app = typer.Typer(no_args_is_help=True, help="List, inspect and download checkpoints.")

CheckpointId = Annotated[str, typer.Argument(metavar="CHECKPOINT_ID", help="Id of the checkpoint.")]
COLUMNS = {
    "id": "id",
    "iteration": "iteration",
    "state": "state",
    "best": "is_best",
    "bytes": "artifact.size_bytes",
    "metrics": "metrics",
    "created": "create_time",
}
CARD = {
    "id": "id",
    "run": "run_id",
    "state": "state",
    "corrupt": "corrupt_reason",
    "iteration": "iteration",
    "steps": "steps",
    "best": "is_best",
    "metrics": "metrics",
    "algorithm": "signature.algorithm",
    "game": "signature.game",
    "scenario": "signature.scenario",
    "actions": "signature.action_combinations",
    "sha256": "artifact.sha256",
    "bytes": "artifact.size_bytes",
    "created": "create_time",
}


@command(app, "list")
def list_checkpoints(
    cli: Cli,
    run: Annotated[str, typer.Option(help="Only of this run, by iteration.")] = "",
    best: Annotated[bool, typer.Option("--best", help="Only the best of each run.")] = False,
    limit: PageSize = 20,
    page: PageToken = "",
) -> None:
    """List checkpoints, newest first."""
    found = cli.client.get(
        "/checkpoints",
        run_id=run,
        best_only=best or None,
        page_size=limit,
        page_token=page,
    )
    show_list(cli, found, COLUMNS)


@command(app, "get")
def get_checkpoint(cli: Cli, checkpoint_id: CheckpointId) -> None:
    """Show one checkpoint."""
    show_item(cli, cli.client.get(f"/checkpoints/{checkpoint_id}"), CARD)


@command(app, "best")
def mark_best(cli: Cli, checkpoint_id: CheckpointId) -> None:
    """Make a checkpoint the best of its run."""
    show_item(cli, cli.client.post(f"/checkpoints/{checkpoint_id}/best"), CARD)


@command(app, "download")
def download(
    cli: Cli,
    checkpoint_id: CheckpointId,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File; ID.safetensors by default.")
    ] = None,
) -> int | None:
    """Download a checkpoint and check its digest; a file that does not match is not kept."""
    wanted = cli.client.get(f"/checkpoints/{checkpoint_id}")["artifact"]["sha256"]
    target = output or Path(f"{checkpoint_id}.safetensors")
    partial = target.with_name(target.name + ".partial")
    try:
        size, sha256 = _save(cli, checkpoint_id, partial)
        if sha256 != wanted:
            cli.err.print(f"error the bytes that came are not those of {wanted}; try again")
            return ExitCode.FAILED
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    if cli.as_json:
        cli.print_json({"path": str(target), "size_bytes": size, "sha256": wanted})
    else:
        cli.out.print(f"{target}  {size} bytes  {wanted}", highlight=False, markup=False)
    return None


def _save(cli: Cli, checkpoint_id: str, path: Path) -> tuple[int, str]:
    """Write what comes; return its size in bytes and its SHA-256."""
    size, digest = 0, hashlib.sha256()
    with path.open("wb") as file:
        for piece in cli.client.download(f"/checkpoints/{checkpoint_id}/download"):
            size += len(piece)
            digest.update(piece)
            file.write(piece)
    return size, digest.hexdigest()


@command(app, "delete")
def delete_checkpoint(cli: Cli, checkpoint_id: CheckpointId) -> None:
    """Delete a checkpoint that nothing refers to."""
    answer = cli.client.delete(f"/checkpoints/{checkpoint_id}")
    if cli.as_json:
        cli.print_json(answer)
    else:
        cli.out.print(f"deleted {checkpoint_id}")
