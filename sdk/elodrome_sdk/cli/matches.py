"""Matches between agents, and their replays."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from elodrome_sdk.cli.command import Cli, command
from elodrome_sdk.cli.options import PageSize, PageToken, resolve_agent
from elodrome_sdk.cli.output import Item, show_item, show_list, show_table
from elodrome_sdk.cli.watching import watch_match

app = typer.Typer(no_args_is_help=True, help="Let agents play against each other.")

MatchId = Annotated[str, typer.Argument(metavar="MATCH_ID", help="Id of the match.")]
BUILTINS = ("random", "first")
COLUMNS = {
    "id": "id",
    "game": "game",
    "seats": "names",
    "state": "state",
    "winner": "winner_name",
    "steps": "steps",
}
CARD = {
    "id": "id",
    "game": "game",
    "played by": "environment_version",
    "state": "state",
    "winner": "winner_name",
    "steps": "steps",
    "seed": "seed",
    "error": "error",
    "replay": "has_replay",
    "run": "run_id",
    "created": "create_time",
    "finished": "finish_time",
}
SEATS = {
    "seat": "place",
    "name": "name",
    "version": "submission_number",
    "score": "score",
    "fault": "fault",
    "message": "message",
    "seconds": "time_used_s",
}


@command(app, "play")
def play(
    cli: Cli,
    game: Annotated[str, typer.Argument(help="connect_four or tic_tac_toe.")],
    players: Annotated[
        list[str],
        typer.Argument(metavar="PLAYER...", help="Agents by name or id, or random, first."),
    ],
    seed: Annotated[int, typer.Option(help="Seed of what is drawn; none draws one.")] = -1,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end.")] = False,
) -> int | None:
    """Start a match between agents or built-in players."""
    seats: list[dict[str, Any]] = [
        {"builtin": player}
        if player in BUILTINS
        else {"agent_id": resolve_agent(cli.client, player, game)}
        for player in players
    ]
    body: dict[str, Any] = {"game": game, "seats": seats}
    match = cli.client.post("/matches", body | ({"seed": seed} if seed >= 0 else {}))
    if watch:
        code = watch_match(cli, match["id"])
        if not cli.as_json:
            _show(cli, cli.client.get(f"/matches/{match['id']}"))
        return code
    _show(cli, match)
    return None


@command(app, "list")
def list_matches(
    cli: Cli,
    game: Annotated[str, typer.Option(help="Only of this game.")] = "",
    agent: Annotated[str, typer.Option(help="Only with this agent, by name or id.")] = "",
    state: Annotated[str, typer.Option(help="Only in this state.")] = "",
    limit: PageSize = 20,
    page: PageToken = "",
) -> None:
    """List matches, newest first."""
    found = cli.client.get(
        "/matches",
        game=game,
        agent_id=resolve_agent(cli.client, agent) if agent else "",
        state=state.upper(),
        page_size=limit,
        page_token=page,
    )
    if not cli.as_json:
        found = found | {"items": [_with_names(match) for match in found["items"]]}
    show_list(cli, found, COLUMNS)


@command(app, "get")
def get_match(cli: Cli, match_id: MatchId) -> None:
    """Show one match with its seats."""
    _show(cli, cli.client.get(f"/matches/{match_id}"))


@command(app, "cancel")
def cancel_match(
    cli: Cli,
    match_id: MatchId,
    reason: Annotated[str, typer.Option(help="Why; kept with the match.")] = "",
) -> None:
    """Cancel a match."""
    _show(cli, cli.client.post(f"/matches/{match_id}/cancel", {"reason": reason}))


@command(app, "replay")
def get_replay(
    cli: Cli,
    match_id: MatchId,
    out: Annotated[Path | None, typer.Option(help="File to write; none prints it.")] = None,
) -> None:
    """Fetch the replay of a match as JSON."""
    document = b"".join(cli.client.download(f"/matches/{match_id}/replay"))
    if out is None:
        sys.stdout.write(document.decode() + "\n")
        return
    out.write_bytes(document)
    cli.err.print(f"{out}: {len(document):,} bytes", markup=False, highlight=False)


def _with_names(match: Item) -> Item:
    names = [seat["name"] for seat in match["seats"]]
    winner = match.get("winner")
    ended = match["state"] == "COMPLETED"
    name = names[winner] if winner is not None else "draw" if ended else ""
    return match | {"names": names, "winner_name": name}


def _show(cli: Cli, match: Item) -> None:
    if cli.as_json:
        cli.print_json(match)
        return
    show_item(cli, _with_names(match), CARD)
    seats = [
        seat | {"place": str(place), "fault": seat["fault"].replace("UNSPECIFIED", "")}
        for place, seat in enumerate(match["seats"])
    ]
    show_table(cli, seats, SEATS)
