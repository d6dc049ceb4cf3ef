"""What an install on a cluster needs before the chart: `python -m deploy.prepare DIRECTORY`.

Makes every password and signing key once, and writes them as what takes them in: SQL for Postgres,
a configuration for NATS, Secrets for the namespace of the release.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Any

from deploy import bus, database
from kit import auth

_NEXT = """\
Wrote {directory}; whoever reads it can read the whole install. Then:

  psql --dbname {database} --file {directory}/postgresql.sql
  nats-server --config {directory}/nats.conf
  kubectl --namespace {namespace} apply --filename {directory}/secrets.yaml
"""
# NATS' own chart, https://github.com/nats-io/k8s, takes settings of the server under `merge`.
_STREAMS = {"sync_interval": "always"}


def prepare(directory: Path, *, namespace: str) -> None:
    """Write `postgresql.sql`, `nats.conf`, `nats-values.yaml` and `secrets.yaml`.

    Raises FileExistsError where the directory holds something: passwords are made once.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise FileExistsError(f"{directory}: holds something already; name an empty directory")
    roles, events = database.generate_passwords(), bus.generate_passwords()
    found = {
        "elodrome-postgresql": roles,
        "elodrome-nats": events,
        "elodrome-keys": _keys(),
        "elodrome-admin": {"password": secrets.token_urlsafe(18)},
    }
    values = {
        "jetstream": {"enabled": True, "fileStore": {"enabled": True}, "merge": _STREAMS},
        "merge": {"authorization": {"users": bus.users(events)}},
    }
    _write(directory / "postgresql.sql", database.roles_sql(roles))
    _write(directory / "nats.conf", bus.server_config("0.0.0.0:4222", "jetstream", events))
    # JSON is YAML too.
    _write(directory / "nats-values.yaml", _json({"config": values}))
    items = [_secret(name, namespace, content) for name, content in found.items()]
    _write(directory / "secrets.yaml", _json({"apiVersion": "v1", "kind": "List", "items": items}))


def _keys() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as place:
        auth.generate_keys(Path(place))
        return {path.name: path.read_text("utf-8") for path in sorted(Path(place).iterdir())}


def _secret(name: str, namespace: str, content: dict[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    head = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
    return head | {"type": "Opaque", "stringData": content}


def _write(path: Path, content: str) -> None:
    path.touch(mode=0o600)
    path.write_text(content, encoding="utf-8")


def _json(content: object) -> str:
    return json.dumps(content, indent=2) + "\n"


def main() -> None:
    """Prepare an install, and say what comes next."""
    parser = argparse.ArgumentParser(prog="deploy.prepare", description=__doc__)
    parser.add_argument("directory", type=Path, help="a new or empty one")
    parser.add_argument("--namespace", default="elodrome", help="of the release")
    chosen = parser.parse_args()
    try:
        prepare(chosen.directory, namespace=chosen.namespace)
    except OSError as error:
        sys.exit(f"prepare: {error}")
    print(_NEXT.format(database=database.DATABASE, **vars(chosen)))


if __name__ == "__main__":
    main()
