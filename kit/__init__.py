"""What every service needs and no service owns."""

from __future__ import annotations

import os

# gRPC's fork handlers can deadlock; services start programs by exec and never fork. Read by grpc
# when it is first imported, hence set before anything of the kit is.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
