"""Writes what is made from the chart: its table of values, and manifests for those without Helm.

With --check it changes nothing and fails when one of them differs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from helm_python import Chart

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
CHART = ROOT / "helm" / "elodrome"
K8S = ROOT / "deploy" / "k8s"
README = CHART / "README.md"
_BEGIN, _END = "<!-- values: written by make chart -->\n", "<!-- end of values -->\n"


EXAMPLES = {"dev": ["dev"], "production": ["production"], "gpu": ["production", "gpu"]}
"""Example installs by name: the files of values of each, later ones over earlier ones."""


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Put values over others as Helm does: maps by key, everything else whole."""
    merged = dict(base)
    for key, value in over.items():
        both_maps = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = merge(base[key], value) if both_maps else value
    return merged


def example(name: str) -> dict[str, Any]:
    """Return the values of an example install."""
    values: dict[str, Any] = {}
    for file in EXAMPLES[name]:
        text = (CHART / "examples" / f"{file}.yaml").read_text(encoding="utf-8")
        values = merge(values, yaml.safe_load(text))
    return values


def rendered(chart: Chart, values: dict[str, Any], *, namespace: str = "elodrome") -> list[str]:
    """Return the YAML of every template with these values, by the names of the templates."""
    files = chart.render(values, name="elodrome", namespace=namespace)
    return [text for path, text in sorted(files.items()) if path.endswith(".yaml")]


def manifests() -> str:
    """Return every object of the chart with the values of deploy/k8s, as one stream of YAML."""
    values = yaml.safe_load((K8S / "values.yaml").read_text(encoding="utf-8"))
    with Chart.load(CHART) as chart:
        texts = rendered(chart, values)
    found = [each for text in texts for each in yaml.safe_load_all(text) if each]
    # A namespace has to be there before what is in it.
    found.sort(key=lambda each: each["kind"] != "Namespace")
    head = "# Rendered from helm/elodrome with values.yaml by make chart. Do not edit.\n"
    return head + yaml.safe_dump_all(found, sort_keys=False, width=100)


def readme() -> str:
    """Return the chart's page with its table of values as values.yaml has them."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    source = (CHART / "values.yaml").read_text(encoding="utf-8")
    rows = "".join(
        f"| `{path}` | `{default}` | {text} |\n" for path, default, text in rows_of(source)
    )
    return f"{before}{_BEGIN}| value | default | |\n|---|---|---|\n{rows}{_END}{after}"


def rows_of(source: str) -> Iterator[tuple[str, str, str]]:
    """Yield path, default and explanation of every value that has a comment above it."""
    lines = source.splitlines()
    values = yaml.safe_load(source)
    path: list[str] = []
    for number, line in enumerate(lines):
        name, separator, rest = line.strip().partition(":")
        if line.lstrip().startswith("#") or not separator:
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        path = [*path[:depth], name]
        above = lines[number - 1].strip()
        if rest and above.startswith("# "):
            yield ".".join(path), json.dumps(_at(values, path)), above.removeprefix("# ")


def _at(values: Any, path: list[str]) -> Any:  # noqa: ANN401 - a tree of YAML
    for name in path:
        values = values[name]
    return values


def main() -> int:
    """Write or check; 0 when all is as it should be."""
    wanted = {K8S / "manifests.yaml": manifests(), README: readme()}
    stale = [p for p, text in wanted.items() if not p.exists() or p.read_text("utf-8") != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(ROOT)} differs from the chart: run make chart")
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
