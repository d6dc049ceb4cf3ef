"""Agents, and the submissions of their code."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Annotated

import typer

from elodrome_sdk.cli.command import Cli, ExitCode, command
from elodrome_sdk.cli.options import PageSize, PageToken, resolve_agent
from elodrome_sdk.cli.output import Item, show_item, show_list
from elodrome_sdk.cli.watching import watch_submission

app = typer.Typer(no_args_is_help=True, help="Submit agents that play against each other.")

AgentRef = Annotated[str, typer.Argument(metavar="AGENT", help="Name or id of the agent.")]
SubmissionId = Annotated[str, typer.Argument(metavar="SUBMISSION_ID", help="Id of the submission.")]
COLUMNS = {
    "id": "id",
    "name": "name",
    "game": "game",
    "version": "active_number",
    "won": "wins",
    "lost": "losses",
    "drawn": "draws",
}
CARD = COLUMNS | {
    "created": "create_time",
    "description": "description",
    "active submission": "active_submission_id",
    "owner": "owner_id",
}
SUBMISSIONS = {
    "id": "id",
    "number": "number",
    "state": "state",
    "bytes": "size_bytes",
    "error": "build.error",
    "created": "create_time",
}
SUBMISSION = SUBMISSIONS | {
    "agent": "agent_id",
    "sha256": "sha256",
    "same code as": "same_as_id",
    "build": "build.attempt",
    "rule": "build.code",
    "log": "build.log",
    "run": "build.run_id",
}
_LARGEST_FILE = 4 << 20


@command(app, "create")
def create_agent(
    cli: Cli,
    name: Annotated[str, typer.Argument(help="Lowercase letters, digits, dots and dashes.")],
    game: Annotated[str, typer.Option(help="Game that it plays: connect_four or tic_tac_toe.")],
    description: Annotated[str, typer.Option(help="What it is.")] = "",
) -> None:
    """Create an agent without code."""
    body = {"name": name, "game": game, "description": description}
    show_item(cli, cli.client.post("/agents", body), CARD)


@command(app, "list")
def list_agents(
    cli: Cli,
    game: Annotated[str, typer.Option(help="Only of this game.")] = "",
    mine: Annotated[bool, typer.Option("--mine", help="Only your own.")] = False,
    limit: PageSize = 20,
    page: PageToken = "",
) -> None:
    """List agents, newest first."""
    found = cli.client.get(
        "/agents", game=game, mine=mine or None, page_size=limit, page_token=page
    )
    show_list(cli, found, COLUMNS)


@command(app, "get")
def get_agent(cli: Cli, agent: AgentRef) -> None:
    """Show one agent with its record."""
    show_item(cli, cli.client.get(f"/agents/{resolve_agent(cli.client, agent)}"), CARD)


@command(app, "submit")
def submit(
    cli: Cli,
    agent: AgentRef,
    code: Annotated[
        Path, typer.Argument(exists=True, help="A zip, a directory with agent.py, or agent.py.")
    ],
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it until built.")] = False,
) -> int | None:
    """Submit code for an agent; it plays as soon as it was checked and tried."""
    path = f"/agents/{resolve_agent(cli.client, agent)}/submissions"
    with tempfile.TemporaryDirectory() as place:
        archive = Path(place) / "agent.zip"
        archive.write_bytes(pack(code))
        submission = cli.client.upload(path, archive, method="POST")
    if watch:
        return watch_submission(cli, submission["id"])
    _show(cli, submission)
    return None


@command(app, "submissions")
def list_submissions(cli: Cli, agent: AgentRef, limit: PageSize = 20, page: PageToken = "") -> None:
    """List the submissions of an agent, newest first."""
    path = f"/agents/{resolve_agent(cli.client, agent)}/submissions"
    show_list(cli, cli.client.get(path, page_size=limit, page_token=page), SUBMISSIONS)


@command(app, "submission")
def get_submission(cli: Cli, submission_id: SubmissionId) -> int:
    """Show one submission with what its build did."""
    submission = cli.client.get(f"/submissions/{submission_id}")
    _show(cli, submission)
    failed = submission["state"] in {"BUILD_FAILED", "FAILED"}
    return ExitCode.FAILED if failed else ExitCode.OK


@command(app, "activate")
def activate(cli: Cli, submission_id: SubmissionId) -> None:
    """Let a submission play the agent's next matches."""
    _show(cli, cli.client.post(f"/submissions/{submission_id}/activate"))


@command(app, "rebuild")
def rebuild(cli: Cli, submission_id: SubmissionId) -> None:
    """Build a submission again whose build has failed."""
    _show(cli, cli.client.post(f"/submissions/{submission_id}/rebuild"))


def pack(code: Path) -> bytes:
    """Return a zip of what was named: the zip itself, one file as agent.py, or a directory.

    Hidden files and caches of Python stay out.
    """
    if code.suffix == ".zip":
        return code.read_bytes()
    if code.is_file() and code.suffix != ".py":
        raise typer.BadParameter(f"{code} is no zip, directory or Python file")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        if code.is_file():
            archive.write(code, "agent.py")
        for file in sorted(code.rglob("*")) if code.is_dir() else ():
            name = file.relative_to(code)
            is_hidden = any(part.startswith((".", "__pycache__")) for part in name.parts)
            if file.is_file() and not is_hidden:
                if file.stat().st_size > _LARGEST_FILE:
                    raise typer.BadParameter(f"{name} has more than {_LARGEST_FILE} bytes")
                archive.write(file, str(name))
    return content.getvalue()


def _show(cli: Cli, submission: Item) -> None:
    show_item(cli, submission, SUBMISSION)
