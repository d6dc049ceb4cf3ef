"""A laptop whose services speak TLS to each other and to their workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy import certificates
from deploy.healthy import is_ready
from kit.settings import SERVICES
from tests.system import training
from tests.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.system.stack import Stack


def test_a_run_is_trained_and_judged_while_plain_calls_are_refused(
    new_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    certificates.write(tmp_path / "tls")
    own = new_stack(
        ELODROME_TLS_DIR=str(tmp_path / "tls" / "services"),
        ELODROME_WORKER_TLS_DIR=str(tmp_path / "tls" / "workers"),
    ).start()
    with own.anonymous() as anonymous:

        def is_whole() -> bool:
            return anonymous.get(f"{own.install.url}/readyz").json()["status"] == "ready"

        eventually_sync(is_whole)
    # Each of them is ready, and none says so to somebody without a certificate.
    assert not any(is_ready(own.install.ports[service]) for service in SERVICES)
    training.train_and_play(own.admin())
