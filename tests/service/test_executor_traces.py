"""What the executor does for a run later belongs to the trace of the request that asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elodrome.executor.v1 import run_pb2
from sqlalchemy import text

from tests.service.executor_bench import running_executor
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tokens import Tokens

    Environment = Callable[[str], dict[str, Any]]

FIRST, SECOND = (f"00-{digit * 32}-{digit * 16}-01" for digit in "ab")


async def test_events_of_an_attempt_are_of_the_trace_that_asked_for_it(
    service_environment: Environment, tokens: Tokens
) -> None:
    fails = ["/bin/sh", "-c", "exit 64"]
    async with running_executor(service_environment, tokens, trainer_command=fails) as bench:
        traced = [*bench.user, ("traceparent", FIRST)]
        run = await bench.create(who=traced)
        await bench.reaches(run.id, run_pb2.RUN_STATE_FAILED)
        bench.user = [*bench.user, ("traceparent", SECOND)]
        await bench.verb("RetryRun", run.id)

        async def told() -> list[tuple[str, str]]:
            async with bench.sessions() as session:
                rows = await session.execute(
                    text("SELECT subject, traceparent FROM outbox ORDER BY sequence")
                )
                return [(subject.split(".")[3], came) for subject, came in rows]

        async def has_failed_again() -> bool:
            return len(await told()) == 10

        await eventually(has_failed_again)
        events = await told()
        # Created, queued, started, ended, failed; and the same once more.
        assert {came for _, came in events[:5]} == {FIRST}
        assert {came for _, came in events[5:]} == {SECOND}
        assert {name for name, _ in events} == {"RunStateChanged", "JobStateChanged"}
