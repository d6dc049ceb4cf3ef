"""Whether a service of this machine is ready, as an exit code: `python -m deploy.healthy gateway`.

It asks as the probes of a cluster do: ready is a service whose database answers and that is not
stopping.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kit.settings import SERVICES, default_grpc_port, default_health_port

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT_S = 3.0


def is_ready(port: int) -> bool:
    """Return whether the service on a port of the loopback interface says that it serves."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(  # pyright: ignore[reportAttributeAccessIssue]
                health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S
            )
        except grpc.RpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING


def fixed_port(service: str, environment: Mapping[str, str]) -> int:
    """Return where a service of a container is asked: where it speaks TLS, at its plain port."""
    speaks_tls = environment.get("ELODROME_TLS_DIR")
    return default_health_port(service) if speaks_tls else default_grpc_port(service)


def main() -> int:
    """Ask the service named on the command line on its fixed port; 0 when it is ready."""
    parser = argparse.ArgumentParser(prog="python -m deploy.healthy", description=__doc__)
    parser.add_argument("service", choices=SERVICES)
    return 0 if is_ready(fixed_port(parser.parse_args().service, os.environ)) else 1


if __name__ == "__main__":
    sys.exit(main())
