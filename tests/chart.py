"""The chart as the tests see it: its examples, rendered once for every process of a test run."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from helm_python import Chart

from scripts import chart as source
from scripts.chart import example, merge, rendered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT, CHART, EXAMPLES = source.ROOT, source.CHART, source.EXAMPLES
RELEASE = "elodrome"
NAMESPACE = "elodrome"
WORKLOADS = "elodrome-workloads"
Manifest = dict[str, Any]


class Pod(NamedTuple):
    """A pod that the chart leads to: what makes it, where it runs, its labels, its spec."""

    owner: str
    namespace: str
    labels: dict[str, str]
    spec: Manifest


@cache
def chart() -> Chart:
    return Chart.load(CHART)


def schema() -> Manifest:
    return json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))


def render(values: Manifest, *, namespace: str = NAMESPACE) -> list[Manifest]:
    """Return every object of an install with these values."""
    texts = rendered(chart(), values, namespace=namespace)
    return [found for text in texts for found in yaml.load_all(text, yaml.CSafeLoader) if found]


def changed(name: str, **over: Any) -> list[Manifest]:
    """Return every object of an example with some other values."""
    return render(merge(example(name), over))


@cache
def objects(name: str) -> list[Manifest]:
    """Return every object of an example; shared, so leave it as it is."""
    return render(example(name))


def of_kind(found: Iterable[Manifest], kind: str) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in found if each["kind"] == kind}


def pods(found: Iterable[Manifest]) -> Iterator[Pod]:
    for each in found:
        name = f"{each['kind']}/{each['metadata']['name']}"
        namespace = each["metadata"].get("namespace", NAMESPACE)
        if each["kind"] == "Pod":
            yield Pod(name, namespace, each["metadata"]["labels"], each["spec"])
        elif each["kind"] in {"Deployment", "StatefulSet", "Job"}:
            template = each["spec"]["template"]
            yield Pod(name, namespace, template["metadata"]["labels"], template["spec"])


def environment(pod: Pod) -> dict[str, str]:
    """Return the variables of a pod's one container."""
    [container] = pod.spec["containers"]
    return {variable["name"]: variable["value"] for variable in container.get("env", [])}
