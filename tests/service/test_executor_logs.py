"""What a worker prints without end costs neither the disk nor anybody else's log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elodrome.executor.v1 import run_pb2

from tests.service.executor_bench import running_executor
from tests.service.test_executor_jobs import steps_beyond
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tokens import Tokens

    Environment = Callable[[str], dict[str, Any]]

FLOOD_BYTES = 64 << 20


async def test_a_flood_is_cut_to_the_limit_and_its_disk_given_back(
    service_environment: Environment, tokens: Tokens, place: dict[str, Any]
) -> None:
    limits = {"log_max_bytes": 1 << 16, "log_lines_per_s": 100}
    environment = service_environment("executor")
    async with running_executor(
        service_environment, tokens, plan="flood", environment=environment, **limits, **place
    ) as bench:
        run = await bench.create({}, max_retries=0)
        await steps_beyond(bench, run.id, 1)

        async def is_carried() -> bool:
            outputs = [each.stat() for each in (environment["home"] / "jobs").rglob("*.log")]
            return any(
                found.st_size > FLOOD_BYTES and found.st_blocks * 512 < FLOOD_BYTES // 4
                for found in outputs
            )

        await eventually(is_carried)
        full = f"[the log is full after {1 << 16} bytes; the rest is left out]"

        async def is_full() -> bool:
            return (await bench.lines(run.id))[-1:] == [full]

        await eventually(is_full)
        lines = await bench.lines(run.id)
        assert sum(map(len, lines)) < (1 << 16) + 2048
        await bench.verb("StopRun", run.id)
        ended = await bench.reaches(run.id, run_pb2.RUN_STATE_STOPPED, within_s=40)
        assert ended.reason == "REQUESTED"
