"""As much of the command `helm` as the guide for operators uses, by Helm's own code.

`python -m tests.cluster.helm install NAME CHART --namespace N --values FILE --wait`
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import reduce
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart, Config, HelmError

from tests import chart

_ACTIONS = ("install", "upgrade", "rollback", "uninstall", "test", "history")


def main() -> None:
    parser = argparse.ArgumentParser(prog="helm")
    parser.add_argument("action", choices=_ACTIONS)
    parser.add_argument("name")
    parser.add_argument("chart", nargs="?", default="")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--values", action="append", type=Path, default=[])
    parser.add_argument("--timeout", type=lambda text: int(text.removesuffix("s")), default=300)
    parser.add_argument("--wait", action="store_const", const="watcher")
    parser.add_argument("--logs", action="store_true")
    asked = parser.parse_args()
    with Config(kubeconfig_path=os.environ["KUBECONFIG"], namespace=asked.namespace) as helm:
        try:
            print(_do(helm, asked))  # noqa: T201
        except HelmError as error:
            sys.exit(f"Error: {error}")


def _do(helm: Config, asked: argparse.Namespace) -> str:
    limits = {"timeout": asked.timeout}
    if asked.action in {"install", "upgrade"}:
        values: list[dict[str, Any]] = [yaml.safe_load(path.read_text()) for path in asked.values]
        act = helm.install if asked.action == "install" else helm.upgrade
        given = reduce(chart.merge, values, {})
        release = act(Chart.load(asked.chart), asked.name, given, wait=asked.wait, **limits)
        return f"STATUS: {release['status']}\nREVISION: {release['revision']}\n{release['notes']}"
    if asked.action == "test":
        return helm.test(asked.name, logs=asked.logs, **limits)["logs"]
    if asked.action == "rollback":
        helm.rollback(asked.name, wait=asked.wait, **limits)
        return "Rollback was a success!"
    if asked.action == "uninstall":
        helm.uninstall(asked.name, wait=asked.wait, **limits)
        return f'release "{asked.name}" uninstalled'
    return "\n".join(f"{each['revision']}\t{each['status']}" for each in helm.history(asked.name))


if __name__ == "__main__":
    main()
