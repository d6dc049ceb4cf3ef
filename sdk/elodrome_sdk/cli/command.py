"""What every command has: `--url`, `--json`, errors that say what to do, and an exit code."""

from __future__ import annotations

import inspect
import json
import re
import sys
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from rich.console import Console

from elodrome_sdk.client import Client
from elodrome_sdk.errors import ApiError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable


class ExitCode(IntEnum):
    """What the exit code of a command says."""

    OK = 0
    FAILED = 1
    """The command worked, and what it looked at failed: a run, an evaluation, a gate."""
    USAGE = 2
    """The command line or a value in it is wrong."""
    NOT_ALLOWED = 3
    """Not signed in, or not allowed to."""
    NOT_FOUND = 4
    """No such thing, or none that the caller may see."""
    CONFLICT = 5
    """The state forbids it: ended already, gate not passed, name taken."""
    UNREACHABLE = 6
    """The install does not answer, or not in time."""
    LIMITED = 7
    """Too many requests; try again later."""
    INTERNAL = 70
    """The install has a fault; the request id finds it in the logs."""


EXIT_OF_STATUS = {
    400: ExitCode.USAGE,
    401: ExitCode.NOT_ALLOWED,
    403: ExitCode.NOT_ALLOWED,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.CONFLICT,
    412: ExitCode.CONFLICT,
    413: ExitCode.USAGE,
    416: ExitCode.USAGE,
    422: ExitCode.USAGE,
    429: ExitCode.LIMITED,
    502: ExitCode.UNREACHABLE,
    503: ExitCode.UNREACHABLE,
    504: ExitCode.UNREACHABLE,
}
EXIT_OF_CODE = {
    "UNAUTHENTICATED": ExitCode.NOT_ALLOWED,
    "PERMISSION_DENIED": ExitCode.NOT_ALLOWED,
    "NOT_FOUND": ExitCode.NOT_FOUND,
    "UNAVAILABLE": ExitCode.UNREACHABLE,
}

ADVICE_OF_REASON = {
    "GATE_NOT_PASSED": "let a gate decide first: elodrome gate decide --policy NAME --version ID; "
    "an admin may use --override --reason TEXT",
    "NO_STABLE_VERSION": "promote a version of the model first: elodrome promote VERSION_ID "
    "--decision DECISION_ID",
    "NO_OPPONENT": "see which models are promoted: elodrome models list --tag stable",
    "VERSION_NOT_PROMOTED": "play the promoted version: leave --version out",
    "CONFIG_IMMUTABLE": "start another run with the change: elodrome runs clone ID --set KEY=VALUE",
    "SESSION_NOT_OVER": "end it first: elodrome sessions end SESSION_ID",
    "SCORE_MISMATCH": "leave --score out: the server decides it from the events",
    "ILLEGAL_TRANSITION": "it has moved on; look at it again with get",
    "NOT_CERTIFIABLE": "let a training end with two checkpoints first: elodrome watch RUN_ID",
    "PROVENANCE_NOT_FOUND": "wait until its worker has begun: elodrome watch RUN_ID",
    "RUN_NOT_FOUND": "see your runs: elodrome runs list",
}
ADVICE_OF_EXIT = {
    ExitCode.NOT_ALLOWED: "an account with another role, or another API key, may do it",
    ExitCode.NOT_FOUND: "check the id; what belongs to others is not shown",
    ExitCode.INTERNAL: "report it with the request id, or look for that id in: make logs",
}


_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass
class Cli:
    """A command being run: where to send requests, and how to print."""

    client: Client
    as_json: bool
    out: Console = field(default_factory=Console)
    err: Console = field(default_factory=lambda: Console(stderr=True))

    def print_json(self, value: object) -> None:
        """Print one JSON document, indented for people and parsed by programs."""
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def print_text(self, text: str) -> None:
        """Print a text as it came; on a terminal its control characters act on nothing."""
        if self.out.is_terminal:
            text = _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
        sys.stdout.write(text)

    def print_line(self, value: object) -> None:
        """Print one JSON document on one line, as streams do."""
        sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
        sys.stdout.flush()


Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="ELODROME_URL",
        help="Address of the install.",
        show_default="http://127.0.0.1:8080",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Add a function to `app`; it gets a `Cli` first, then what its own signature asks for.

    The function returns nothing, or the exit code.
    """

    def add(function: Callable[..., Any]) -> Callable[..., None]:
        def run(*, url: str, as_json: bool, **arguments: object) -> None:
            with Client(url or None) as client:
                code = _guarded(Cli(client, as_json), function, arguments)
            raise typer.Exit(code)

        hints = get_type_hints(function, include_extras=True) | {"url": Url, "as_json": AsJson}
        own = list(inspect.signature(function).parameters.values())[1:]
        common = [
            inspect.Parameter("url", inspect.Parameter.KEYWORD_ONLY, default=""),
            inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False),
        ]
        keyword = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
        parameters = [one.replace(annotation=hints[one.name]) for one in [*keyword, *common]]
        run.__signature__ = inspect.Signature(parameters)
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        run.__doc__ = function.__doc__
        app.command(name)(run)
        return function

    return add


def _guarded(cli: Cli, function: Callable[..., Any], arguments: dict[str, Any]) -> int:
    """Run a command and turn what went wrong into words and an exit code."""
    try:
        return function(cli, **arguments) or ExitCode.OK
    except ApiError as error:
        return explain(cli, error)
    except UnreachableError as error:
        if cli.as_json:
            body = {"code": "UNAVAILABLE", "reason": "UNREACHABLE", "message": str(error)}
            sys.stderr.write(json.dumps({"error": body}) + "\n")
        else:
            advice = "start it with: make up; or name another: --url or ELODROME_URL"
            _complain(cli, str(error), {"try": advice})
        return ExitCode.UNREACHABLE


def explain(cli: Cli, error: ApiError) -> ExitCode:
    """Say what was refused, by which rule, and what to do; return the exit code."""
    code = EXIT_OF_STATUS.get(error.status) or EXIT_OF_CODE.get(error.code, ExitCode.INTERNAL)
    if cli.as_json:
        sys.stderr.write(json.dumps(error.to_json()) + "\n")
        return code
    details = {"reason": error.reason, "field": error.field, "try": _advice(error, code)}
    if code in {ExitCode.INTERNAL, ExitCode.UNREACHABLE}:
        details["request"] = error.request_id
    _complain(cli, error.message, details)
    return code


def _advice(error: ApiError, code: ExitCode) -> str:
    if error.reason in ADVICE_OF_REASON:
        return ADVICE_OF_REASON[error.reason]
    if error.code == "UNAUTHENTICATED":
        return "sign in: elodrome login"
    if error.retry_after_s is not None:
        return f"again in {error.retry_after_s:g} s"
    return ADVICE_OF_EXIT.get(code, "")


def _complain(cli: Cli, message: str, details: dict[str, str]) -> None:
    cli.err.print("[bold red]error[/]", end=" ", highlight=False)
    cli.err.print(message, markup=False, highlight=False, soft_wrap=True)
    for name, value in details.items():
        if value:
            cli.err.print(f"  {name:<8}", end="", style="dim", highlight=False)
            cli.err.print(value, markup=False, highlight=False, soft_wrap=True)
