"""Strict validation of manifests: Kubernetes' own kinds by its schemas, the others by ours.

A schema here holds the fields that the chart writes and nothing else, after the definitions that
the projects publish: monitoring.coreos.com/v1 of prometheus-operator, keda.sh/v1alpha1 of KEDA,
kueue.x-k8s.io/v1beta2 of Kueue, all Apache-2.0.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema
from jsonschema import ValidationError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

if TYPE_CHECKING:
    from jsonschema.validators import Draft202012Validator

__all__ = ["VERSIONS", "ValidationError", "validate"]

VERSIONS = [f"1.{minor}" for minor in range(31, 38)]
"""Those that the chart and the executor are made for."""

_STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
_METADATA = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "namespace": {"type": "string"},
        "labels": _STRINGS,
        "annotations": _STRINGS,
        # What the API server adds.
        "uid": {"type": "string"},
        "resourceVersion": {"type": "string"},
        "creationTimestamp": {"type": "string"},
        "generation": {"type": "integer"},
    },
}


def _closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


_DURATION = {"type": "string", "pattern": r"^([0-9]+(ms|s|m|h|d))+$"}
_TEXT = {"type": "string", "minLength": 1}
_SPECS = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _closed(
        {
            "selector": _closed({"matchLabels": _STRINGS}),
            "jobLabel": _TEXT,
            "endpoints": _list(
                _closed(
                    {
                        "port": _TEXT,
                        "interval": _DURATION,
                        "relabelings": _list(
                            _closed({"sourceLabels": _list(_TEXT), "targetLabel": _TEXT})
                        ),
                    },
                    "port",
                )
            ),
        },
        "selector",
        "endpoints",
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _closed(
        {
            "groups": _list(
                _closed(
                    {
                        "name": _TEXT,
                        "rules": _list(
                            _closed(
                                {
                                    "alert": _TEXT,
                                    "expr": _TEXT,
                                    "for": _DURATION,
                                    "labels": _STRINGS,
                                    "annotations": _STRINGS,
                                },
                                "alert",
                                "expr",
                            )
                        ),
                    },
                    "name",
                    "rules",
                )
            )
        },
        "groups",
    ),
    ("kueue.x-k8s.io/v1beta2", "Workload"): _closed(
        {"active": {"type": "boolean"}, "queueName": _TEXT}, "queueName"
    ),
    ("keda.sh/v1alpha1", "ScaledObject"): _closed(
        {
            "scaleTargetRef": _closed({"name": _TEXT}, "name"),
            "minReplicaCount": {"type": "integer", "minimum": 0},
            "maxReplicaCount": {"type": "integer", "minimum": 1},
            "triggers": _list(
                _closed(
                    {
                        "type": {"const": "nats-jetstream"},
                        "metadata": _closed(
                            {
                                "natsServerMonitoringEndpoint": _TEXT,
                                "account": _TEXT,
                                "stream": _TEXT,
                                "consumer": _TEXT,
                                "lagThreshold": {"type": "string", "pattern": "^[0-9]+$"},
                            },
                            "natsServerMonitoringEndpoint",
                            "account",
                            "stream",
                            "consumer",
                        ),
                    },
                    "type",
                    "metadata",
                )
            ),
        },
        "scaleTargetRef",
        "triggers",
    ),
}


def validate(manifest: dict[str, Any], version: str) -> None:
    """Raise ValidationError for a field or value that a version such as 1.31 does not know."""
    _validator(manifest["apiVersion"], manifest["kind"], version).validate(manifest)


@cache
def _validator(api_version: str, kind: str, version: str) -> Draft202012Validator:
    if spec := _SPECS.get((api_version, kind)):
        whole = {"apiVersion": _TEXT, "kind": _TEXT, "metadata": _METADATA, "spec": spec}
        return jsonschema.Draft202012Validator(_closed(whole, *whole))
    group, _, name = api_version.rpartition("/")
    short = f"{group.split('.')[0]}-{name}" if group else name
    schema = _schemas(version).joinpath(f"{kind.lower()}-{short}.json").read_text("utf-8")
    return jsonschema.Draft202012Validator(json.loads(schema), registry=_definitions(version))


def _schemas(version: str) -> Any:
    # The wheel has them all; its own function reads the 2 MB of definitions at each call.
    root = resources.files("kubernetes_validate") / "kubernetes-json-schema"
    return root / f"v{version}.0-local-strict"


@cache
def _definitions(version: str) -> Registry:
    contents = json.loads(_schemas(version).joinpath("_definitions.json").read_text("utf-8"))
    name = contents.get("$id", "_definitions.json")
    return Registry().with_resource(name, Resource.from_contents(contents, DRAFT202012))
