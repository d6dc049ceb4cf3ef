"""Players that were trained elsewhere."""

from __future__ import annotations

import hashlib
import json
import math
import operator
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

MODEL = Annotated[str, typer.Option(help="Name or id of the model to publish it in.")]
LINES = 500
"""Steps of a curve that one request brings, which may have 50,000 points."""


@command(app, "import")
def import_checkpoint(
    cli: Cli,
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="Checkpoint (.safetensors)."),
    ],
    model: MODEL,
    metrics: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help='Its curve: lines of JSON such as {"step": 1024, "values": {"eval_return": 3.5}}.',
        ),
    ] = None,
) -> None:
    """Publish a checkpoint of another install as the next version of a model, with its curve."""
    curve = _read_curve(metrics) if metrics else []
    model_id = resolve_name(cli.client, "/models", "model", model)
    with file.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    _publish(cli, model_id, file.name, _upload(cli.client, file.name, file, sha256, curve))


@command(app, "import-arnold")
def import_arnold(
    cli: Cli,
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="State dict that Arnold saved (.pth)."),
    ],
    model: MODEL,
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
        checkpoint_id = _upload(cli.client, file.name, path, sha256, [])
    _publish(cli, model_id, file.name, checkpoint_id)
    return None


def _publish(cli: Cli, model_id: str, name: str, checkpoint_id: str) -> None:
    body = {"checkpoint_id": checkpoint_id, "description": f"imported from {name}"}
    show_item(cli, cli.client.post(f"/models/{model_id}/versions", body), VERSION)


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


def _read_curve(path: Path) -> list[dict[str, Any]]:
    """Read lines of a step and its values, as `POST /runs/{id}/metrics` takes them."""
    curve = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            step, values = operator.index(entry["step"]), dict(entry["values"])
            for value in values.values():
                math.isfinite(value)  # raises TypeError for what is no number
        except (ValueError, TypeError, KeyError) as error:
            raise typer.BadParameter(
                f"--metrics: line {number} of {path.name} is not an object of step and values"
            ) from error
        curve.append({"step": step, "values": values})
    return curve


def _series(curve: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turn lines into one series a name."""
    series: dict[str, dict[str, Any]] = {}
    for entry in curve:
        for name, value in entry["values"].items():
            one = series.setdefault(name, {"name": name, "steps": [], "values": []})
            one["steps"].append(entry["step"])
            one["values"].append(value)
    return list(series.values())


def _upload(
    client: Client, file_name: str, path: Path, sha256: str, curve: list[dict[str, Any]]
) -> str:
    """Commit the file as the only checkpoint of an EXTERNAL run; return the checkpoint's id."""
    name = f"import {file_name}"[:128]
    run_id = client.post("/runs", {"type": "EXTERNAL", "name": name})["id"]
    try:
        checkpoint = client.upload(f"/runs/{run_id}/checkpoints/{sha256}", path)
        iteration = checkpoint.get("iteration", 0)
        client.post(f"/checkpoints/{checkpoint['id']}:commit", {"iteration": iteration})
        for begin in range(0, len(curve), LINES):
            stretch = _series(curve[begin : begin + LINES])
            client.post(f"/runs/{run_id}/metrics", {"series": stretch})
    except ApiError as error:
        client.post(f"/runs/{run_id}/finish", {"state": "FAILED", "error": error.message})
        raise
    client.post(f"/runs/{run_id}/finish")
    return checkpoint["id"]
