"""Secrets that the chart makes for development are good ones."""

from __future__ import annotations

import base64
import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest
import yaml
from helm_python import Chart, HelmError

from kit import auth
from kit.settings import SERVICES, TLS_FILES
from tests import chart

if TYPE_CHECKING:
    from pathlib import Path


class Cluster:
    """The chart with Secrets to find: offline, Helm's `lookup` finds nothing, so a file answers."""

    def __init__(self, directory: Path) -> None:
        self._chart = directory / "elodrome"
        self._secrets = self._chart / "cluster.json"
        shutil.copytree(chart.CHART, self._chart)
        asking = re.compile(
            r'lookup "v1" "Secret" (?:(?P<root>\S*)\.Release\.Namespace|\.namespace) (\S+?)(?=[ )])'
        )

        def answer(found: re.Match[str]) -> str:
            root = ".root" if found["root"] is None else found["root"]
            return f'get ({root}.Files.Get "cluster.json" | fromJson) {found[2]} | default dict'

        for template in self._chart.glob("templates/*"):
            if template.is_file():
                template.write_text(asking.sub(answer, template.read_text()))

    def install(self, values: chart.Manifest, **secrets: chart.Manifest) -> chart.Manifest:
        """Return the Secrets that an install makes where those that are given exist, by name."""
        self._secrets.write_text(json.dumps(secrets))
        with Chart.load(self._chart) as mine:
            files = mine.render(values, name=chart.RELEASE, namespace=chart.NAMESPACE)
        text = files.get("elodrome/templates/secret.yaml", "")
        return chart.of_kind(filter(None, yaml.safe_load_all(text)), "Secret")


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def test_an_upgrade_changes_no_generated_secret(cluster: Cluster) -> None:
    first = cluster.install(chart.example("dev"))
    again = cluster.install(chart.example("dev"), **first)
    assert {name: each["data"] for name, each in again.items()} == {
        name: each["data"] for name, each in first.items()
    }
    # They are kept because the cluster has them, not because they come out alike.
    afresh = cluster.install(chart.example("dev"))
    assert all(afresh[name]["data"] != first[name]["data"] for name in first)


def test_a_secret_that_lost_a_password_gets_that_one_alone(cluster: Cluster) -> None:
    first = cluster.install(chart.example("dev"))
    before = dict(first["elodrome-nats"]["data"])
    del first["elodrome-nats"]["data"]["sessions"]
    after = cluster.install(chart.example("dev"), **first)["elodrome-nats"]["data"]
    assert {name for name in before if before[name] != after[name]} == {"sessions"}


def encoded(**passwords: str) -> chart.Manifest:
    return {"data": {name: base64.b64encode(p.encode()).decode() for name, p in passwords.items()}}


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("", "has no key evaluator"),
        ("elevenchars", "key evaluator of Secret elodrome-postgresql is shorter than 12"),
        ("changemechangeme1", "key evaluator of Secret elodrome-postgresql is a password out of"),
    ],
)
def test_a_weak_password_of_a_secret_is_refused(
    cluster: Cluster, password: str, words: str
) -> None:
    good = dict.fromkeys(SERVICES, "correct-horse-battery")
    cluster.install(chart.example("production"), **{"elodrome-postgresql": encoded(**good)})
    weak = encoded(**good | {"evaluator": password})
    with pytest.raises(HelmError, match=re.escape(words)):
        cluster.install(chart.example("production"), **{"elodrome-postgresql": weak})


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        ("tls.existingSecret", "elodrome-services-tls"),
        ("workloads.tlsSecret", "elodrome-workers-tls"),
    ],
)
def test_a_certificate_without_its_authority_is_refused(
    cluster: Cluster, path: str, secret: str
) -> None:
    whole = dict.fromkeys(TLS_FILES, "PEM")
    cluster.install(chart.example("production"), **{secret: encoded(**whole)})
    without = {"tls.crt": "PEM", "tls.key": "PEM"}
    with pytest.raises(HelmError, match=re.escape(f"{path}: Secret {secret} has no key ca.crt")):
        cluster.install(chart.example("production"), **{secret: encoded(**without)})


def generated() -> dict[str, dict[str, bytes]]:
    found = chart.of_kind(chart.objects("dev"), "Secret")
    return {
        name: {key: base64.b64decode(value) for key, value in each["data"].items()}
        for name, each in found.items()
    }


def test_passwords_are_long_and_all_different() -> None:
    made = generated()
    passwords = [
        password
        for name in ("elodrome-postgresql", "elodrome-nats", "elodrome-admin")
        for password in made[name].values()
    ]
    assert len(set(passwords)) == len(passwords) == 5 + 6 + 1
    assert {len(password) for password in passwords} == {32}


@pytest.mark.parametrize("service", SERVICES)
def test_signing_keys_are_those_that_services_use(service: str, tmp_path: Path) -> None:
    made = generated()["elodrome-keys"]
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    signer, verifier = auth.Signer.load(tmp_path, service), auth.Verifier.load(tmp_path)
    assert verifier.verify(signer.service()).subject == service


def test_the_key_set_is_the_one_that_the_kit_would_write(tmp_path: Path) -> None:
    """Made anew from the same private keys, every entry is the same."""
    made = generated()["elodrome-keys"]
    for name in made.keys() - {"jwks.json"}:
        (tmp_path / name).write_bytes(made[name])
    auth.generate_keys(tmp_path)
    assert json.loads(made["jwks.json"]) == json.loads((tmp_path / "jwks.json").read_bytes())


def test_secrets_of_ones_own_are_taken_as_they_are() -> None:
    assert not chart.of_kind(chart.objects("production"), "Secret")
    found = chart.changed("dev", nats={"existingSecret": "mine"})
    assert "elodrome-nats" not in chart.of_kind(found, "Secret")


def test_generated_secrets_outlive_the_release() -> None:
    for secret in chart.of_kind(chart.objects("dev"), "Secret").values():
        assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
