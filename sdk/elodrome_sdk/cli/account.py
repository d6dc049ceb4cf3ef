"""Signing in and out."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from elodrome_sdk.cli.command import Cli, command
from elodrome_sdk.cli.output import show_item

app = typer.Typer()

USER = {
    "user": "username",
    "email": "email",
    "role": "role",
    "id": "id",
    "last login": "last_login_time",
}
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]
Email = Annotated[str, typer.Option(prompt="Email or username", help="Address or username.")]


def _password(from_stdin: bool, *, confirm: bool = False) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return typer.prompt("Password", hide_input=True, confirmation_prompt=confirm, err=True)


@command(app, "login")
def login(cli: Cli, email: Email, password_stdin: FromStdin = False) -> None:
    """Sign in; the credentials are kept in a file that only you can read."""
    user = cli.client.login(email, _password(password_stdin))
    if cli.as_json:
        cli.print_json(user)
    else:
        cli.out.print(f"signed in at {cli.client.url} as", user["username"], markup=False)


@command(app, "register")
def register(
    cli: Cli,
    email: Annotated[str, typer.Option(prompt=True, help="Address to sign in with.")],
    username: Annotated[str, typer.Option(help="Public name.")] = "",
    password_stdin: FromStdin = False,
) -> None:
    """Create an account and sign in."""
    password = _password(password_stdin, confirm=True)
    show_item(cli, cli.client.register(email, password, username), USER)


@command(app, "logout")
def logout(cli: Cli) -> None:
    """Sign out and forget the credentials."""
    cli.client.logout()
    if cli.as_json:
        cli.print_json({"ok": True})
    else:
        cli.out.print(f"signed out of {cli.client.url}")


@command(app, "whoami")
def whoami(cli: Cli) -> None:
    """Show who is signed in."""
    show_item(cli, cli.client.get("/users/me"), USER)


@command(app, "version")
def version(cli: Cli) -> None:
    """Show the versions of this program and of the install."""
    try:
        mine = installed_version("elodrome-sdk")
    except PackageNotFoundError:
        mine = "from source"
    server = cli.client.get("/version")
    show_item(cli, {"client": mine, "server": server}, {"client": "client", "server": "server"})
