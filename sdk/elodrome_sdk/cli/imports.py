"""Players that were trained elsewhere."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elodrome_sdk.cli.command import Cli, ExitCode, command
from elodrome_sdk.cli.models import VERSION
from elodrome_sdk.cli.options import parse_setting, resolve_name
from elodrome_sdk.cli.output import show_item
from elodrome_sdk.errors import ApiError

if TYPE_CHECKING:
    from elodrome_sdk.client import Client

app = typer.Typer()


@command(app, "import-arnold")
def import_arnold(
    cli: Cli,
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="State dict that Arnold saved (.pth)."),
    ],
    model: Annotated[str, typer.Option(help="Name or id of the model to publish it in.")],
    preset: Annotated[
        str,
        typer.Option(
            help="Published agent whose parameters it has: defend_the_center, health_gathering, "
            "vizdoom_2017_track1, vizdoom_2017_track2 or deathmatch_shotgun."
        ),
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Parameter of Arnold's command line; repeatable."
        ),
    ] = None,
) -> int | None:
    """Publish a player that Arnold trained as the next version of a model.

    The file is read here, as tensors only: nothing in it runs. What --preset and --set leave out
    takes the defaults of Arnold's own command line.
    """
    model_id = resolve_name(cli.client, "/models", "model", model)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "imported.safetensors"
        try:
            sha256 = _convert(file, preset, dict(map(parse_setting, settings or [])), path)
        except ImportError as error:
            advice = "pip install 'elodrome[worker]' to read state dicts"
            cli.err.print(f"error {error}: {advice}", markup=False, soft_wrap=True)
            return ExitCode.FAILED
        checkpoint_id = _upload(cli.client, f"import {file.name}"[:128], path, sha256)
    body = {"checkpoint_id": checkpoint_id, "description": f"imported from {file.name}"}
    show_item(cli, cli.client.post(f"/models/{model_id}/versions", body), VERSION)
    return None


def _convert(file: Path, preset: str, settings: dict[str, Any], path: Path) -> str:
    """Write the checkpoint; return its SHA-256. Raises ImportError where torch is missing."""
    # Whoever imports nothing needs none of this, and torch alone takes seconds to load.
    from trainer import arnold, arnold_parameters, checkpoint  # noqa: PLC0415

    if preset and preset not in arnold_parameters.PRESETS:
        known = ", ".join(arnold_parameters.PRESETS)
        raise typer.BadParameter(f"--preset: {preset!r} is unknown; known: {known}")
    declared = arnold_parameters.PRESETS[preset].to_mapping() if preset else {}
    try:
        parameters = arnold_parameters.parse(declared | settings)
        return checkpoint.write(path, *arnold.import_state_dict(file, parameters))
    except (arnold_parameters.ConfigError, checkpoint.CheckpointError) as error:
        raise typer.BadParameter(str(error)) from error


def _upload(client: Client, name: str, path: Path, sha256: str) -> str:
    """Commit the file as the only checkpoint of an EXTERNAL run; return the checkpoint's id."""
    run_id = client.post("/runs", {"type": "EXTERNAL", "name": name})["id"]
    try:
        checkpoint_id = client.upload(f"/runs/{run_id}/checkpoints/{sha256}", path)["id"]
        client.post(f"/checkpoints/{checkpoint_id}:commit", {"iteration": 0})
    except ApiError as error:
        client.post(f"/runs/{run_id}/finish", {"state": "FAILED", "error": error.message})
        raise
    client.post(f"/runs/{run_id}/finish")
    return checkpoint_id
