"""What the cluster keeps, and how the API server tells clients so: discovery and OpenAPI."""

from __future__ import annotations

from typing import NamedTuple

from tests.cluster.store import Object, StatusError


class Resource(NamedTuple):
    """A kind of object: where it is in the API, what it is called, whether namespaces hold it."""

    group_version: str
    name: str
    kind: str
    is_namespaced: bool = True

    @property
    def group(self) -> str:
        """Return the API group; empty for the core."""
        return self.group_version.rpartition("/")[0]


RESOURCES = (
    Resource("v1", "namespaces", "Namespace", is_namespaced=False),
    Resource("v1", "pods", "Pod"),
    Resource("v1", "secrets", "Secret"),
    Resource("v1", "configmaps", "ConfigMap"),
    Resource("v1", "services", "Service"),
    Resource("v1", "serviceaccounts", "ServiceAccount"),
    Resource("v1", "events", "Event"),
    Resource("v1", "resourcequotas", "ResourceQuota"),
    Resource("v1", "limitranges", "LimitRange"),
    Resource("apps/v1", "deployments", "Deployment"),
    Resource("apps/v1", "replicasets", "ReplicaSet"),
    Resource("apps/v1", "statefulsets", "StatefulSet"),
    Resource("batch/v1", "jobs", "Job"),
    Resource("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    Resource("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"),
    Resource("networking.k8s.io/v1", "ingresses", "Ingress"),
    Resource("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    Resource("rbac.authorization.k8s.io/v1", "roles", "Role"),
    Resource("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding"),
    Resource("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", is_namespaced=False),
    Resource("monitoring.coreos.com/v1", "servicemonitors", "ServiceMonitor"),
    Resource("monitoring.coreos.com/v1", "prometheusrules", "PrometheusRule"),
    Resource("keda.sh/v1alpha1", "scaledobjects", "ScaledObject"),
    Resource("kueue.x-k8s.io/v1beta2", "workloads", "Workload"),
)
_BY_NAME = {resource.name: resource for resource in RESOURCES}
_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


def named(name: str) -> Resource:
    """Return a resource by its name in paths."""
    if name not in _BY_NAME:
        raise StatusError(404, "NotFound", f"the server could not find {name}")
    return _BY_NAME[name]


def discovery(path: str) -> Object:
    """Return what a path says that leads to no object; raise StatusError where nothing is."""
    if path == "/version":
        return {"major": "1", "minor": "37", "gitVersion": "v1.37.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [_group(name) for name in dict.fromkeys(each.group_version for each in RESOURCES)]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [g for g in groups if g]}
    if path == "/openapi/v3":
        urls = dict.fromkeys(f"/{_place(each)}" for each in RESOURCES)
        paths = {url[1:]: {"serverRelativeURL": f"/openapi/v3{url}?hash=0"} for url in urls}
        return {"paths": paths}
    if path.startswith("/openapi/v3/"):
        return _openapi(path.removeprefix("/openapi/v3/"))
    return _group_or_version(path.removeprefix("/apis/").removeprefix("/api/"))


def _group_or_version(name: str) -> Object:
    versions = [each.group_version for each in RESOURCES if each.group == name != ""]
    if versions:
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(versions[0])}
    found = [each for each in RESOURCES if each.group_version == name]
    if not found:
        raise StatusError(404, "NotFound", f"no such API: {name}")
    listed = [
        {"name": each.name, "singularName": each.kind.lower(), "kind": each.kind}
        | {"namespaced": each.is_namespaced, "verbs": _VERBS}
        for each in found
    ]
    return {"kind": "APIResourceList", "groupVersion": name, "resources": listed}


def _group(group_version: str) -> Object:
    name, _, version = group_version.rpartition("/")
    entry = {"groupVersion": group_version, "version": version}
    return {"name": name, "versions": [entry], "preferredVersion": entry} if name else {}


def _place(resource: Resource) -> str:
    return ("apis/" if resource.group else "api/") + resource.group_version


def _openapi(place: str) -> Object:
    """Return as much of an OpenAPI document as a client looks for before it applies a patch."""
    parameters = [{"name": name, "in": "query"} for name in ("dryRun", "fieldValidation", "force")]
    paths: Object = {}
    for each in RESOURCES:
        if _place(each) == place:
            group, _, version = each.group_version.rpartition("/")
            kind = {"group": group, "version": version, "kind": each.kind}
            patch = {"parameters": parameters, "x-kubernetes-group-version-kind": kind}
            inside = "namespaces/{namespace}/" if each.is_namespaced else ""
            paths[f"/{place}/{inside}{each.name}/{{name}}"] = {"patch": patch}
    info = {"title": "Kubernetes", "version": "v1.37.0"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": {}}}
