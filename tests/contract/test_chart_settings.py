"""What the chart tells a service is what the service can be told, and what others expect of it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from deploy import bus, certificates
from kit.settings import (
    SERVICES,
    TLS_FILES,
    ServiceSettings,
    default_grpc_port,
    default_health_port,
)
from tests import chart

if TYPE_CHECKING:
    from pathlib import Path

# Read by the object store's client, not by the registry.
_FOREIGN = {"AWS_REGION", "AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP"}
_PLACES = {"ELODROME_SECRETS_DIR", *(f"ELODROME_{name.upper()}_ADDRESS" for name in SERVICES)}
_WORDS = ("PASSWORD", "SECRET", "TOKEN", "KEY")


def settings_of(service: str) -> type[ServiceSettings]:
    module = importlib.import_module(f"services.{service}.settings")
    return getattr(module, f"{service.capitalize()}Settings")


def pod_of(service: str, name: str = "production") -> chart.Pod:
    owner = f"Deployment/elodrome-{service}"
    return next(pod for pod in chart.pods(chart.objects(name)) if pod.owner == owner)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("name", chart.EXAMPLES)
def test_every_variable_is_a_setting(service: str, name: str) -> None:
    known = {f"ELODROME_{field.upper()}" for field in settings_of(service).model_fields}
    known |= _PLACES | _FOREIGN
    assert chart.environment(pod_of(service, name)).keys() <= known


def test_large_and_broken_numbers_reach_a_service_as_they_are() -> None:
    """Helm holds numbers as floats, and writes large ones in a way that no integer is read from."""
    wanted = {"worker_memory_bytes": 8 << 30, "max_jobs": 3_000_000, "kube_queries_per_s": 0.5}
    found = chart.changed("production", executor={"settings": wanted})
    [pod] = [pod for pod in chart.pods(found) if pod.owner == "Deployment/elodrome-executor"]
    told = chart.environment(pod)
    assert {name: told[f"ELODROME_{name.upper()}"] for name in wanted} == {
        "worker_memory_bytes": "8589934592",
        "max_jobs": "3000000",
        "kube_queries_per_s": "0.5",
    }


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_starts_with_what_it_is_told(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The files of a pod are laid out as its volumes have them, and the service reads them."""
    pod = pod_of(service)
    for variable, value in chart.environment(pod).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("ELODROME_SECRETS_DIR", str(tmp_path))
    certificates.write(tmp_path / "tls")
    monkeypatch.setenv("ELODROME_TLS_DIR", str(tmp_path / "tls" / "services"))
    volume = next(each for each in pod.spec["volumes"] if each["name"] == "secrets")
    for source in volume["projected"]["sources"]:
        for item in source["secret"]["items"]:
            (tmp_path / item["path"]).write_text(f"{item['key']} of {source['secret']['name']}")
    settings = settings_of(service).load()
    assert f"{service}%20of%20elodrome-postgresql@postgresql.example.com" in settings.database_url
    assert settings.nats_password == f"{service} of elodrome-nats"
    assert settings.nats_user == service
    if service == "registry":
        assert settings.store_credentials == {
            "access_key_id": "access_key_id of elodrome-object-store",
            "secret_access_key": "secret_access_key of elodrome-object-store",
        }


def test_spans_are_sent_where_the_values_say() -> None:
    endpoint = "http://collector.monitoring:4318"
    found = chart.changed("production", tracing={"otlpEndpoint": endpoint})
    told = {
        pod.owner: chart.environment(pod).get("ELODROME_OTLP_ENDPOINT")
        for pod in chart.pods(found)
        if pod.owner.startswith("Deployment/")
    }
    assert set(told.values()) == {endpoint}
    assert "ELODROME_OTLP_ENDPOINT" not in chart.environment(pod_of("gateway"))


@pytest.mark.parametrize("name", chart.EXAMPLES)
def test_no_secret_is_in_the_environment(name: str) -> None:
    for pod in chart.pods(chart.objects(name)):
        [container] = pod.spec["containers"]
        assert "envFrom" not in container
        for variable in container.get("env", ()):
            assert "valueFrom" not in variable, pod.owner
            is_place = variable["name"].endswith(("_DIR", "_PULL_SECRETS", "_TLS_SECRET"))
            assert is_place or not any(word in variable["name"] for word in _WORDS), pod.owner


@pytest.mark.parametrize("service", SERVICES)
def test_a_pod_holds_its_own_secrets_only(service: str) -> None:
    volumes = {each["name"]: each for each in pod_of(service).spec["volumes"]}
    keys = {
        (source["secret"]["name"], item["key"])
        for name in ("secrets", "keys")
        for source in volumes[name]["projected"]["sources"]
        for item in source["secret"]["items"]
    }
    own = {
        ("elodrome-postgresql", service),
        ("elodrome-nats", service),
        ("elodrome-keys", f"{service}.pem"),
        ("elodrome-keys", "jwks.json"),
    }
    store = {
        ("elodrome-object-store", f"{name}") for name in ("access_key_id", "secret_access_key")
    }
    assert keys == own | (store if service == "registry" else set())


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_shows_its_peers_the_certificate_of_the_values(service: str) -> None:
    pod = pod_of(service)
    [container] = pod.spec["containers"]
    [mount] = [each for each in container["volumeMounts"] if each["name"] == "tls"]
    [volume] = [each for each in pod.spec["volumes"] if each["name"] == "tls"]
    assert chart.environment(pod)["ELODROME_TLS_DIR"] == mount["mountPath"]
    # A file that is mounted by itself would stay as it is when the Secret changes.
    assert mount["readOnly"]
    assert "subPath" not in mount
    assert volume["secret"]["secretName"] == "elodrome-services-tls"
    assert [item["path"] for item in volume["secret"]["items"]] == list(TLS_FILES)
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports["health"] == default_health_port(service)
    told = chart.environment(pod).get("ELODROME_KUBE_TLS_SECRET")
    assert told == ("elodrome-workers-tls" if service == "executor" else None)


def test_without_a_certificate_nothing_speaks_of_tls() -> None:
    for pod in chart.pods(chart.objects("dev")):
        [container] = pod.spec["containers"]
        assert not [name for name in chart.environment(pod) if "TLS" in name], pod.owner
        assert "tls" not in {each["name"] for each in pod.spec.get("volumes", ())}
        assert "health" not in {each["name"] for each in container.get("ports", ())}, pod.owner


def test_certificates_that_are_made_are_for_the_names_that_are_called(tmp_path: Path) -> None:
    certificates.write(tmp_path)
    made = x509.load_pem_x509_certificate((tmp_path / "services" / "tls.crt").read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    called = {
        chart.environment(pod_of("gateway"))[f"ELODROME_{peer.upper()}_ADDRESS"].rpartition(":")[0]
        for peer in SERVICES
    }
    assert called <= set(names.get_values_for_type(x509.DNSName))


@pytest.mark.parametrize("service", SERVICES)
def test_services_find_each_other(service: str) -> None:
    environment = chart.environment(pod_of(service))
    services = chart.of_kind(chart.objects("production"), "Service")
    for peer in SERVICES:
        host, _, port = environment[f"ELODROME_{peer.upper()}_ADDRESS"].rpartition(":")
        name, namespace, kind = host.split(".")
        assert (namespace, kind, int(port)) == (chart.NAMESPACE, "svc", default_grpc_port(peer))
        ports = {each["name"]: each["port"] for each in services[name]["spec"]["ports"]}
        assert ports["grpc"] == int(port)
        # Calls are spread over pods by the client, which has to see them.
        assert services[name]["spec"]["clusterIP"] == "None"
        selector = services[name]["spec"]["selector"]
        assert selector.items() <= pod_of(peer).labels.items()


def test_the_chart_knows_who_reads_which_stream() -> None:
    read: dict[str, set[str]] = {}
    for consumer in bus.CONSUMERS:
        read.setdefault(consumer.service, set()).add(consumer.stream)
    scaled = {"keda": {"enabled": True, "minReplicas": 2}}
    over = dict.fromkeys(read, scaled)
    found = chart.changed("production", **over, keda={"natsMonitoringEndpoint": "nats:8222"})
    triggers = {
        trigger["metadata"]["consumer"]: {
            each["metadata"]["stream"] for each in scaler["spec"]["triggers"]
        }
        for scaler in chart.of_kind(found, "ScaledObject").values()
        for trigger in scaler["spec"]["triggers"]
    }
    assert triggers == read
