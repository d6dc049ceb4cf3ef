"""The strict schemas of kubernetes-validate, parsed once: its own `validate` does so every time."""

from __future__ import annotations

import importlib.resources
import re
from functools import cache
from typing import Any

import jsonschema
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

OLDEST, NEWEST = 31, 37
VERSIONS = [f"1.{minor}" for minor in range(OLDEST, NEWEST + 1)]


def check(manifest: dict[str, Any], version: str) -> None:
    """Raise jsonschema.ValidationError when a manifest does not fit; unknown fields do not."""
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", manifest["apiVersion"])
    _validator(f"{manifest['kind'].lower()}-{group}", version).validate(manifest)


@cache
def _validator(name: str, version: str) -> jsonschema.Draft202012Validator:
    schema = _contents(name, version)
    return jsonschema.Draft202012Validator(schema, registry=_registry(version, name))


@cache
def _definitions(version: str) -> Resource[Any]:
    return Resource.from_contents(_contents("_definitions", version))


def _registry(version: str, name: str) -> Registry[Any]:
    own = Resource.from_contents(_contents(name, version))
    return _definitions(version) @ (own @ Registry())


def _contents(name: str, version: str) -> Any:
    [directory] = [entry for entry in _directories() if entry.startswith(f"v{version}.")]
    return schema_contents(f"kubernetes-json-schema/{directory}/{name}.json", version)


@cache
def _directories() -> list[str]:
    root = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema"
    return [entry.name for entry in root.iterdir() if entry.name.endswith("-local-strict")]
