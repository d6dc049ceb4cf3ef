"""What the gateway adds to a call: REST and the same RPC made directly, turn by turn."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

from elodrome.registry.v1 import model_service_pb2 as pb
from elodrome.registry.v1.model_service_pb2_grpc import ModelServiceStub

from bench.report import Row

if TYPE_CHECKING:
    from bench.install import Install

PAIRS = 2000


async def measure(install: Install) -> list[Row]:
    """Report the difference of medians over pairs of calls."""
    admin = await install.admin()
    name = {"name": "overhead"}
    model_id = (await admin.json("POST", "/api/v1/models", name))["id"]
    metadata = [("authorization", f"Bearer {admin.token}")]
    direct: list[float] = []
    through: list[float] = []
    async with install.channel("registry") as channel:
        stub = ModelServiceStub(channel)
        for i in range(PAIRS + 200):
            begin = time.perf_counter()
            await stub.GetModel(pb.GetModelRequest(id=model_id), metadata=metadata)
            middle = time.perf_counter()
            status, _ = await admin.request("GET", f"/api/v1/models/{model_id}")
            end = time.perf_counter()
            if status != 200:
                raise RuntimeError(f"GET model: {status}")
            if i >= 200:
                direct.append(middle - begin)
                through.append(end - middle)
    detail: dict[str, float | int | str] = {
        "direct p50 ms": median(direct) * 1e3,
        "REST p50 ms": median(through) * 1e3,
        "pairs": PAIRS,
    }
    added = (median(through) - median(direct)) * 1e3
    return [Row("gateway over the direct call, p50", added, "ms", 1.5, detail=detail)]
