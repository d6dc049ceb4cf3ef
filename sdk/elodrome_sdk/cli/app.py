"""The command line as a whole."""

from __future__ import annotations

import typer

from elodrome_sdk.cli import (
    account,
    agents,
    checkpoints,
    evaluations,
    gates,
    imports,
    logs,
    matches,
    models,
    runs,
    sessions,
    watching,
)

EPILOG = (
    "Exit codes: 0 well; 1 what was looked at failed (run, evaluation, gate); 2 wrong command line "
    "or value; 3 not signed in or not allowed; 4 not found; 5 the state forbids it; 6 no answer; "
    "7 too many requests; 70 a fault of the install."
)

app = typer.Typer(
    name="elodrome",
    help="Train agents, prove that they got better, promote them, play them.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)

# An app without a name adds its commands to the top level.
app.add_typer(account.app)
app.add_typer(runs.start_app)
app.add_typer(runs.app, name="runs")
app.add_typer(watching.app)
app.add_typer(logs.app)
app.add_typer(checkpoints.app, name="checkpoints")
app.add_typer(models.app, name="models")
app.add_typer(evaluations.app, name="eval")
app.add_typer(gates.app, name="gate")
app.add_typer(agents.app, name="agents")
app.add_typer(matches.app, name="matches")
app.add_typer(models.promote_app)
app.add_typer(imports.app)
app.add_typer(sessions.app, name="sessions")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
