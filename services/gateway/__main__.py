"""`python -m services.gateway`: gRPC and REST on one event loop."""

from __future__ import annotations

from kit import server
from services.gateway.assembly import build
from services.gateway.settings import GatewaySettings

if __name__ == "__main__":
    server.main(GatewaySettings, build)
