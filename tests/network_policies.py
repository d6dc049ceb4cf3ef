"""What NetworkPolicies allow: connections judged as a network plugin would, without a cluster."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NAME = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Place:
    """An end of a connection: a pod in a namespace, or, without one, an address outside."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = "192.0.2.1"


def allowed(
    policies: Iterable[dict[str, Any]], source: Place, target: Place, port: int, protocol: str
) -> bool:
    """Say whether a connection may be made: its source may open and its target may take it."""
    known = list(policies)
    how = port, protocol
    return _passes(known, source, target, how, "Egress") and _passes(
        known, target, source, how, "Ingress"
    )


def selecting(policies: Iterable[dict[str, Any]], pod: Place, way: str) -> list[dict[str, Any]]:
    """Return the policies that isolate a pod in one way, Ingress or Egress."""
    return [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == pod.namespace
        and way in policy["spec"]["policyTypes"]
        and _matches(policy["spec"]["podSelector"], pod.labels)
    ]


def _passes(
    policies: list[dict[str, Any]], pod: Place, peer: Place, how: tuple[int, str], way: str
) -> bool:
    if not pod.namespace:
        return True
    selected = selecting(policies, pod, way)
    if not selected:
        return True
    rules = [rule for spec in selected for rule in spec.get(way.lower(), ())]
    side = "from" if way == "Ingress" else "to"
    return any(_port_matches(rule, *how) and _peer_matches(rule, side, pod, peer) for rule in rules)


def _port_matches(rule: dict[str, Any], port: int, protocol: str) -> bool:
    wanted = rule.get("ports")
    return not wanted or any(
        each.get("protocol", "TCP") == protocol and each.get("port", port) == port
        for each in wanted
    )


def _peer_matches(rule: dict[str, Any], side: str, pod: Place, peer: Place) -> bool:
    wanted = rule.get(side)
    return not wanted or any(_is_peer(each, pod, peer) for each in wanted)


def _is_peer(wanted: dict[str, Any], pod: Place, peer: Place) -> bool:
    if block := wanted.get("ipBlock"):
        # Blocks are for what lies outside; whether they cover pods differs between plugins.
        return not peer.namespace and _in_block(block, peer.address)
    if not peer.namespace:
        return False
    namespaces = wanted.get("namespaceSelector")
    if namespaces is None:
        in_namespace = peer.namespace == pod.namespace
    else:
        in_namespace = _matches(namespaces, {_NAME: peer.namespace})
    return in_namespace and _matches(wanted.get("podSelector", {}), peer.labels)


def _in_block(block: dict[str, Any], text: str) -> bool:
    address = ipaddress.ip_address(text)
    inside = address in ipaddress.ip_network(block["cidr"])
    return inside and not any(
        address in ipaddress.ip_network(each) for each in block.get("except", ())
    )


def _matches(selector: dict[str, Any], labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels", {})
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _holds(each, labels) for each in selector.get("matchExpressions", ())
    )


def _holds(expression: dict[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in expression["values"]
        case "NotIn":
            return value not in expression["values"]
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise ValueError(expression["operator"])
