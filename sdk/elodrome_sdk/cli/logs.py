"""What a run printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from elodrome_sdk.cli.command import Cli, command

if TYPE_CHECKING:
    from elodrome_sdk.cli.output import Item

app = typer.Typer()

_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}


@command(app, "logs")
def logs(
    cli: Cli,
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="Id of the run.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
    tail: Annotated[int, typer.Option(help="Only the newest lines, up to 200; 0 for all.")] = 0,
    attempt: Annotated[int, typer.Option(help="Only this attempt; 0 for all.")] = 0,
) -> None:
    """Print what a run printed."""
    if follow:
        for event in cli.client.watch(f"/runs/{run_id}/logs/watch"):
            if event.event == "line":
                _print(cli, json.loads(event.data))
        return
    path = f"/runs/{run_id}/logs"
    if tail:
        lines = cli.client.get(path, tail=True, page_size=tail, attempt=attempt)["items"]
    else:
        lines = cli.client.items(path, attempt=attempt)
    for line in lines:
        _print(cli, line)


def _print(cli: Cli, line: Item) -> None:
    if cli.as_json:
        cli.print_line(line)
    else:
        # A log is somebody else's text: it must not steer the terminal.
        typer.echo(line.get("text", "").translate(_ESCAPES))
