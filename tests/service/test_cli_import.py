"""Importing a player from the command line, against an install that answers as the test says."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from elodrome_sdk.cli.command import ExitCode

from services.registry import weights_file
from tests.service.cli_install import Answer, Install, refusal, running_install
from tests.service.test_cli_commands import MODEL_ID, VERSION_ID, Terminal
from tests.unit.test_trainer_arnold import random_weights
from trainer import arnold, arnold_parameters, checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = {"height": 36, "width": 64, "hidden_dim": 8, "bucket_size": [10, 1]}
DECLARED = (
    *("--preset", "defend_the_center"),
    *(text for key, value in SMALL.items() for text in ("--set", f"{key}={json.dumps(value)}")),
)
VERSIONS = f"POST /models/{MODEL_ID}/versions"


@pytest.fixture
def install() -> Iterator[Install]:
    with running_install() as running:
        running.on("GET /models", {"items": [{"id": MODEL_ID}]})
        running.on("POST /runs", {"id": "run-1"})
        running.on("POST /runs/run-1/finish", {"id": "run-1"})
        running.on("POST /checkpoints/c-1:commit", {"id": "c-1"})
        running.on(VERSIONS, {"id": VERSION_ID, "number": 1})
        yield running


@pytest.fixture
def terminal(install: Install, tmp_path: Path) -> Terminal:
    return Terminal(install, tmp_path)


@pytest.fixture
def state_dict(tmp_path: Path) -> Path:
    """A file as Arnold saves one, of an agent smaller than the published one."""
    path = tmp_path / "best-77.pth"
    sizes = arnold.shapes(arnold.ArnoldNetwork(parameters()).state_dict())
    torch.save(random_weights(sizes), path)
    return path


def parameters() -> arnold_parameters.Parameters:
    declared = arnold_parameters.PRESETS["defend_the_center"].to_mapping() | SMALL
    return arnold_parameters.parse(declared)


def upload_of(state_dict: Path) -> str:
    """The route by which the file will come; the same weights give the same bytes."""
    path = state_dict.with_suffix(".safetensors")
    digest = checkpoint.write(path, *arnold.import_state_dict(state_dict, parameters()))
    return f"PUT /runs/run-1/checkpoints/{digest}"


def test_a_state_dict_is_published_as_a_version(
    install: Install, terminal: Terminal, state_dict: Path
) -> None:
    upload = upload_of(state_dict)
    install.on(upload, Answer(503), {"id": "c-1"})
    printed = terminal.ok("import-arnold", str(state_dict), "--model", "doom", *DECLARED, "--json")
    assert json.loads(printed)["id"] == VERSION_ID
    assert [f"{one.method} {one.path}" for one in install.requests] == [
        "GET /models",
        "POST /runs",
        upload,
        upload,
        "POST /checkpoints/c-1:commit",
        "POST /runs/run-1/finish",
        VERSIONS,
    ]
    body = install.sent("POST /runs")[0].body
    assert (body["type"], body["name"]) == ("EXTERNAL", "import best-77.pth")
    assert install.sent(VERSIONS)[0].body["checkpoint_id"] == "c-1"
    content = install.sent(upload)[1].body
    assert upload.endswith(hashlib.sha256(content).hexdigest())
    manifest = weights_file.read(io.BytesIO(content), len(content)).manifest
    assert manifest["scenario"] == "defend_the_center"
    assert manifest["network"]["arguments"]["bucket_size"] == [10, 1]


def a_checkpoint(state_dict: Path, iteration: int) -> Path:
    path = state_dict.with_name("agent.safetensors")
    manifest, tensors = arnold.import_state_dict(state_dict, parameters())
    checkpoint.write(path, replace(manifest, iteration=iteration), tensors)
    return path


def test_a_checkpoint_is_published_as_it_is_with_its_curve(
    install: Install, terminal: Terminal, state_dict: Path, tmp_path: Path
) -> None:
    path = a_checkpoint(state_dict, iteration=30)
    upload = f"PUT /runs/run-1/checkpoints/{hashlib.sha256(path.read_bytes()).hexdigest()}"
    install.on(upload, {"id": "c-1", "iteration": 30})
    install.on("POST /runs/run-1/metrics", {})
    curve = tmp_path / "curve.jsonl"
    points = [{"step": step, "values": {"eval_return": step / 2}} for step in range(1, 702)]
    points[3]["values"]["eval_kills"] = 7
    curve.write_text("".join(json.dumps(point) + "\n" for point in points))
    printed = terminal.ok("import", str(path), "--model", "doom", "--metrics", str(curve))
    assert VERSION_ID in printed
    assert install.sent(upload)[0].body == path.read_bytes()
    assert install.sent("POST /checkpoints/c-1:commit")[0].body == {"iteration": 30}
    stretches = [sent.body["series"] for sent in install.sent("POST /runs/run-1/metrics")]
    returns = [series for stretch in stretches for series in stretch[:1]]
    assert [step for series in returns for step in series["steps"]] == list(range(1, 702))
    assert returns[-1]["values"][-1] == 350.5
    assert stretches[0][1] == {"name": "eval_kills", "steps": [4], "values": [7]}
    assert install.sent(VERSIONS)[0].body["checkpoint_id"] == "c-1"


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"step": 1}',
        '{"step": "x", "values": {}}',
        '{"step": 1.5, "values": {}}',
        '{"step": 1, "values": {"eval_return": "high"}}',
    ],
)
def test_a_curve_that_is_none_is_refused_before_anything_is_created(
    install: Install, terminal: Terminal, state_dict: Path, tmp_path: Path, line: str
) -> None:
    curve = tmp_path / "curve.jsonl"
    curve.write_text('{"step": 1, "values": {}}\n' + line)
    path = a_checkpoint(state_dict, iteration=30)
    result = terminal.run("import", str(path), "--model", "doom", "--metrics", str(curve))
    assert result.exit_code == ExitCode.USAGE
    said = " ".join(result.stderr.replace("│", " ").split())
    assert "--metrics: line 2 of curve.jsonl is not an object of step and values" in said
    assert install.requests == []


def test_a_run_whose_upload_is_refused_has_failed(
    install: Install, terminal: Terminal, state_dict: Path
) -> None:
    full = refusal(507, "RESOURCE_EXHAUSTED", "STORAGE_FULL", "no space left")
    install.on(upload_of(state_dict), full)
    result = terminal.run("import-arnold", str(state_dict), "--model", "doom", *DECLARED)
    assert result.exit_code != 0
    assert "no space left" in result.stderr
    finished = install.sent("POST /runs/run-1/finish")[0].body
    assert finished == {"state": "FAILED", "error": "no space left"}
    assert install.sent(VERSIONS) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--preset", "track3"), "track3' is unknown; known: defend_the_center"),
        ((*DECLARED, "--set", "hidden_dim=0"), "hidden_dim: must be a whole number from 1 to"),
        ((*DECLARED, "--set", "hist_size=3"), "is 32x12x8x8, needed is 32x9x8x8"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_created(
    install: Install,
    terminal: Terminal,
    state_dict: Path,
    options: tuple[str, ...],
    said: str,
) -> None:
    result = terminal.run("import-arnold", str(state_dict), "--model", "doom", *options)
    assert result.exit_code == ExitCode.USAGE
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert {one.method for one in install.requests} == {"GET"}


def test_without_torch_it_is_told_what_to_install(install: Install, state_dict: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from elodrome_sdk.cli.app import app; app(sys.argv[1:])"
    )
    command = ["import-arnold", str(state_dict), "--model", "doom", "--url", install.url]
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == ExitCode.FAILED
    assert "pip install 'elodrome[worker]'" in " ".join(done.stderr.split())
