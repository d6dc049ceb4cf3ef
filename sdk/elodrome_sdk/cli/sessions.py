"""Sessions of play against promoted agents."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from elodrome_sdk.cli.command import Cli, command
from elodrome_sdk.cli.options import PageSize, PageToken, parse_object, resolve_name
from elodrome_sdk.cli.output import show_item, show_list, show_table
from elodrome_sdk.cli.watching import watch_session

app = typer.Typer(no_args_is_help=True, help="Play against promoted agents.")

SessionId = Annotated[str, typer.Argument(metavar="SESSION_ID", help="Id of the session.")]
COLUMNS = {
    "id": "id",
    "mode": "mode",
    "state": "state",
    "opponent": "opponent.model_name",
    "version": "opponent.version_number",
    "difficulty": "difficulty",
    "events": "event_count",
    "score": "score",
    "started": "create_time",
}
CARD = COLUMNS | {
    "style": "opponent_style",
    "drill": "drill",
    "opponent version": "opponent.version_id",
    "ended": "end_time",
    "because": "end_reason",
}
EVENT = {"id": "id", "sequence": "sequence", "t_ms": "t_ms", "type": "type", "late": "late"}
SUMMARY = {
    "score": "score",
    "play time s": "play_time_s",
    "events": "event_count",
    "late": "late_count",
    "counts": "counts",
    "accuracy": "accuracy",
}
INSIGHTS = {
    "insight": "rule",
    "kind": "kind",
    "value": "value",
    "threshold": "threshold",
    "unit": "unit",
    "text": "text",
}
DRILLS = {
    "drill": "name",
    "title": "title",
    "difficulty": "difficulty",
    "s": "duration_s",
    "instructions": "instructions",
}


@command(app, "start")
def start_session(
    cli: Cli,
    mode: Annotated[str, typer.Option(help="PRACTICE, DUEL or DRILL.")] = "DUEL",
    difficulty: Annotated[int, typer.Option(help="1 (easiest) to 10.")] = 5,
    style: Annotated[str, typer.Option(help="Play style of the opponent.")] = "",
    model: Annotated[str, typer.Option(help="Name or id of the model to play against.")] = "",
    version: Annotated[str, typer.Option(help="Id of a version instead of the stable one.")] = "",
    drill: Annotated[str, typer.Option(help="Name of the drill, with --mode DRILL.")] = "",
) -> None:
    """Start a session against a promoted agent."""
    body: dict[str, Any] = {
        "mode": mode.upper(),
        "difficulty": difficulty,
        "opponent_style": style,
        "version_id": version,
        "drill": drill,
    }
    if model:
        body["model_id"] = resolve_name(cli.client, "/models", "model", model)
    show_item(cli, cli.client.post("/sessions/start", body), CARD)


@command(app, "list")
def list_sessions(
    cli: Cli,
    state: Annotated[str, typer.Option(help="ACTIVE, ENDED or ABANDONED.")] = "",
    mode: Annotated[str, typer.Option(help="PRACTICE, DUEL or DRILL.")] = "",
    limit: PageSize = 20,
    page: PageToken = "",
) -> None:
    """List your sessions, newest first."""
    found = cli.client.get(
        "/sessions",
        state=state.upper(),
        mode=mode.upper(),
        page_size=limit,
        page_token=page,
    )
    show_list(cli, found, COLUMNS)


@command(app, "get")
def get_session(cli: Cli, session_id: SessionId) -> None:
    """Show one session."""
    show_item(cli, cli.client.get(f"/sessions/{session_id}"), CARD)


@command(app, "event")
def record_event(
    cli: Cli,
    session_id: SessionId,
    t_ms: Annotated[int, typer.Option("--t-ms", help="Time since the start, in ms.")],
    type_: Annotated[str, typer.Option("--type", help="Type of event, such as shot.")],
    payload: Annotated[str, typer.Option(help='JSON object, such as {"hit": true}.')] = "{}",
) -> None:
    """Record one event of a session."""
    body = {"t_ms": t_ms, "type": type_, "payload": parse_object(payload, "--payload")}
    show_item(cli, cli.client.post(f"/sessions/{session_id}/event", body), EVENT)


@command(app, "events")
def list_events(
    cli: Cli, session_id: SessionId, limit: PageSize = 50, page: PageToken = ""
) -> None:
    """List the events of a session by their time."""
    path = f"/sessions/{session_id}/events"
    found = cli.client.get(path, page_size=limit, page_token=page)
    show_list(cli, found, EVENT | {"payload": "payload"})


@command(app, "end")
def end_session(
    cli: Cli,
    session_id: SessionId,
    score: Annotated[int | None, typer.Option(help="Score to have confirmed.")] = None,
) -> None:
    """End a session; the server decides the score from the events."""
    body = {} if score is None else {"score": score}
    show_item(cli, cli.client.post(f"/sessions/{session_id}/end", body), CARD)


@command(app, "summary")
def show_summary(cli: Cli, session_id: SessionId) -> None:
    """Show what a session came to, with insights and drills."""
    summary = cli.client.get(f"/sessions/{session_id}/summary")
    show_item(cli, summary, SUMMARY)
    for name, columns in (("insights", INSIGHTS), ("drills", DRILLS)):
        if summary.get(name) and not cli.as_json:
            show_table(cli, summary[name], columns)


@command(app, "watch")
def watch(cli: Cli, session_id: SessionId) -> int:
    """Follow a session to its end."""
    return watch_session(cli, session_id)
