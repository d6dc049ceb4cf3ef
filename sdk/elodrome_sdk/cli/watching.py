"""Following what takes long: a bar for people at a terminal, a line each for everybody else."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from elodrome_sdk.cli.command import Cli, ExitCode, command
from elodrome_sdk.cli.output import cell, duration, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

app = typer.Typer()

_SHOWN_METRICS = 4
# `done` says it, with the reason.
_SETTLED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "STOPPED"})
_UNENDED = frozenset({"PENDING", "BUILDING", "RUNNING"})
_PATHS = {
    "run": "/runs/{}/watch",
    "eval": "/evaluations/{}/watch",
    "session": "/sessions/{}/watch",
    "submission": "/submissions/{}/watch",
    "match": "/matches/{}/watch",
}


@command(app, "watch")
def watch(
    cli: Cli,
    id_: Annotated[str, typer.Argument(metavar="ID", help="Id of a run, or see --kind.")],
    kind: Annotated[str, typer.Option(help="run, eval, session, submission or match.")] = "run",
    cursor: Annotated[str, typer.Option(help="Begin after this event.")] = "",
) -> int:
    """Follow a run, or what else takes long, until it has settled.

    The exit code is 0 if it went well and 1 if it failed. A stream that breaks is resumed.
    """
    if kind not in _PATHS:
        raise typer.BadParameter(f"--kind must be one of {', '.join(_PATHS)}")
    watchers = {
        "run": watch_run,
        "eval": watch_evaluation,
        "session": watch_session,
        "submission": watch_submission,
        "match": watch_match,
    }
    return watchers[kind](cli, id_, cursor)


def watch_run(cli: Cli, run_id: str, cursor: str = "") -> int:
    """Follow a run; return FAILED if it ended as FAILED or CANCELLED."""

    def describe(event: str, data: dict[str, Any], line: Line) -> None:
        if event == "progress":
            line.percent = data.get("progress_percent", 0)
            line.remaining_s = data.get("estimated_remaining_s")
            line.note("phase", data.get("phase", ""))
        elif event == "metrics":
            line.numbers(data.get("values", {}))
        elif event == "state" and data["state"] not in _SETTLED:
            line.say(f"{data['state']}  {_because(data)}".rstrip())
        elif event == "checkpoint":
            line.say(f"checkpoint {data['checkpoint_id']} at iteration {data.get('iteration', 0)}")

    done = _follow(cli, _PATHS["run"].format(run_id), cursor, describe)
    return ExitCode.OK if done["state"] in {"COMPLETED", "STOPPED"} else ExitCode.FAILED


def watch_evaluation(cli: Cli, evaluation_id: str, cursor: str = "") -> int:
    """Follow an evaluation; return FAILED unless it ended as COMPLETED."""

    def describe(event: str, data: dict[str, Any], line: Line) -> None:
        if event == "progress":
            line.percent = data.get("percent", 0)
            line.remaining_s = data.get("estimated_remaining_s")
            line.note("episodes", f"{data.get('episodes_done', 0)}/{data.get('episodes_total', 0)}")
        elif event == "done":
            for metric in data["evaluation"].get("metrics", []):
                bounds = f"[{number(metric['lower'])}, {number(metric['upper'])}]"
                line.say(f"{metric['metric']}  {number(metric['mean'])}  {bounds}")

    done = _follow(cli, _PATHS["eval"].format(evaluation_id), cursor, describe)
    state = done["evaluation"]["state"]
    return ExitCode.OK if state == "COMPLETED" else ExitCode.FAILED


def watch_session(cli: Cli, session_id: str, cursor: str = "") -> int:
    """Follow a session of play to its end."""

    def describe(event: str, data: dict[str, Any], line: Line) -> None:
        if event == "event":
            late = "  (late)" if data.get("late") else ""
            payload = json.dumps(data.get("payload", {}))
            line.say(f"{data.get('t_ms', 0):>8} ms  {data['type']}  {payload}{late}")
        elif event == "done":
            line.say(f"{data['end_reason']}; score {data.get('score', 0)}")

    _follow(cli, _PATHS["session"].format(session_id), cursor, describe)
    return ExitCode.OK


def watch_submission(cli: Cli, submission_id: str, cursor: str = "") -> int:
    """Follow a submission until its build ends; return FAILED unless it is playable then."""

    def describe(event: str, data: dict[str, Any], line: Line) -> None:
        if event == "progress" and data["state"] in _UNENDED:
            line.say(data["state"])
        elif event == "done":
            for text in data["build"].get("log", "").splitlines():
                line.say(text)

    done = _follow(cli, _PATHS["submission"].format(submission_id), cursor, describe)
    return ExitCode.OK if done["state"] in {"ACTIVE", "INACTIVE"} else ExitCode.FAILED


def watch_match(cli: Cli, match_id: str, cursor: str = "") -> int:
    """Follow a match; return FAILED unless it ended as COMPLETED."""

    def describe(event: str, data: dict[str, Any], line: Line) -> None:
        if event == "progress" and data["state"] in _UNENDED:
            line.say(data["state"])

    done = _follow(cli, _PATHS["match"].format(match_id), cursor, describe)
    return ExitCode.OK if done["state"] == "COMPLETED" else ExitCode.FAILED


class Line:
    """What a person sees while following: news as lines, and one line that is kept up to date."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.percent = 0.0
        self.remaining_s: float | None = None
        self._notes: dict[str, str] = {}

    def note(self, name: str, text: str) -> None:
        """Keep a text on the line."""
        self._notes[name] = text

    def numbers(self, values: dict[str, Any]) -> None:
        """Keep the newest values of the first few metrics on the line."""
        for name, value in sorted(values.items()):
            if name in self._notes or len(self._notes) <= _SHOWN_METRICS:
                self._notes[name] = f"{name} {cell(value)}"

    @property
    def text(self) -> str:
        """The notes in a row."""
        left = f"{duration(self.remaining_s)} left" if self.remaining_s is not None else ""
        return "  ".join(note for note in [*self._notes.values(), left] if note)


def _follow(
    cli: Cli, path: str, cursor: str, describe: Callable[[str, dict[str, Any], Line], None]
) -> dict[str, Any]:
    """Show a stream to its end; return the data of its `done`."""
    data: dict[str, Any] = {}
    with _showing(cli) as (line, refresh):
        for event in cli.client.watch(path, cursor=cursor):
            data = json.loads(event.data)
            if cli.as_json:
                cli.print_line({"id": event.id, "event": event.event, "data": data})
                continue
            describe(event.event, data, line)
            refresh()
    settled = data.get("evaluation", data)
    if not cli.as_json:
        cli.out.print(cell(settled["state"]), _because(settled), highlight=False, markup=False)
    return data


@contextmanager
def _showing(cli: Cli) -> Iterator[tuple[Line, Callable[[], None]]]:
    if cli.as_json or not cli.out.is_terminal:
        yield from _as_lines(cli)
        return
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=cli.out) as bar:
        task = bar.add_task("", total=100)
        line = Line(lambda text: bar.console.print(text, markup=False, highlight=False))
        yield line, lambda: bar.update(task, completed=line.percent, description=line.text)


def _as_lines(cli: Cli) -> Iterator[tuple[Line, Callable[[], None]]]:
    """For a pipe or a file: a line when the percentage has changed."""
    line = Line(lambda text: cli.out.print(text, markup=False, highlight=False, soft_wrap=True))
    shown = -1

    def refresh() -> None:
        nonlocal shown
        if int(line.percent) != shown and line.percent:
            shown = int(line.percent)
            line.say(f"{shown:>3} %  {line.text}")

    yield line, refresh


def _because(data: dict[str, Any]) -> str:
    return "  ".join(data[name] for name in ("reason", "last_error", "error") if data.get(name))
