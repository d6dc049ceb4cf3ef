"""As much of the command `kubectl` as the guide for operators uses, by the official client.

`python -m tests.cluster.kubectl --namespace N apply --filename FILE`
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client.exceptions import ApiException
from kubernetes.config import new_client_from_config
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.resource import Resource

from tests.cluster.front import Front

_JSON_PATH = re.compile(r"\{((?:\.[\w-]+)+)\}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="kubectl")
    parser.add_argument("--namespace", default="default")
    actions = parser.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create")
    create.add_argument("kind", choices=["namespace"])
    create.add_argument("name")
    actions.add_parser("apply").add_argument("--filename", required=True, type=Path)
    get = actions.add_parser("get")
    get.add_argument("kind")
    get.add_argument("name", nargs="?")
    get.add_argument("--output", default="name")
    forward = actions.add_parser("port-forward")
    forward.add_argument("target")
    forward.add_argument("port")
    asked = parser.parse_args()
    try:
        _do(DynamicClient(new_client_from_config(os.environ["KUBECONFIG"])), asked)
    except ApiException as error:
        sys.exit(f"Error from server ({error.reason}): {json.loads(error.body)['message']}")


def _do(client: DynamicClient, asked: argparse.Namespace) -> None:
    if asked.action == "create":
        metadata = {"name": asked.name}
        _apply(client, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, "")
    elif asked.action == "apply":
        text = asked.filename.read_text(encoding="utf-8")
        for document in filter(None, yaml.safe_load_all(text)):
            for item in document["items"] if document["kind"] == "List" else [document]:
                _apply(client, item, asked.namespace)
    elif asked.action == "get":
        _get(client, asked)
    else:
        _forward(client, asked)


def _apply(client: DynamicClient, item: dict[str, Any], namespace: str) -> None:
    # The API server turns what is written as text into what it keeps.
    resource = client.resources.get(api_version=item["apiVersion"], kind=item["kind"])
    resource.server_side_apply(
        body=item, namespace=item["metadata"].get("namespace", namespace), field_manager="kubectl"
    )
    print(f"{item['kind'].lower()}/{item['metadata']['name']} serverside-applied")  # noqa: T201


def _get(client: DynamicClient, asked: argparse.Namespace) -> None:
    kinds = {each.name: each for each in client.resources.search() if type(each) is Resource}
    resource = kinds[asked.kind if asked.kind.endswith("s") else f"{asked.kind}s"]
    found = resource.get(name=asked.name, namespace=asked.namespace).to_dict()
    if path := _JSON_PATH.fullmatch(asked.output.removeprefix("jsonpath=").strip("'")):
        for part in path[1].strip(".").split("."):
            found = found[part]
        sys.stdout.write(str(found))
        return
    for item in found.get("items", [found]):
        print(f"{asked.kind}/{item['metadata']['name']}")  # noqa: T201


def _forward(client: DynamicClient, asked: argparse.Namespace) -> None:
    """Carry connections to a pod of a Service until killed."""
    kind, _, name = asked.target.partition("/")
    assert kind == "service"
    services = client.resources.get(api_version="v1", kind="Service")
    wanted = services.get(name=name, namespace=asked.namespace).spec.selector.to_dict()
    labels = ",".join(f"{key}={value}" for key, value in wanted.items())
    pods = client.resources.get(api_version="v1", kind="Pod")
    [pod, *_] = pods.get(namespace=asked.namespace, label_selector=labels).items
    local, _, remote = asked.port.partition(":")
    address = pod.status.podIP
    front = Front("127.0.0.1", int(local), lambda: [address], int(remote or local))
    print(f"Forwarding from {front.url}", flush=True)  # noqa: T201
    threading.Event().wait()


if __name__ == "__main__":
    main()
