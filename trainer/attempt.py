"""The life of a worker: take the lease of a job, do the work, report how it ended, exit.

Exit codes: 0 done or ended on request, 64 bad config or not started by an executor, 65 bad input,
66 the training diverged, 70 an error of the program or a call that the platform refused, 75 the
platform was away for too long, 79 a newer attempt has taken over.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elodrome.executor.v1 import run_pb2

from trainer import failpoint, platform
from trainer.config import ConfigError
from trainer.lease import Lease
from trainer.reporter import Request
from trainer.stopping import DivergedError

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

    Work = Callable[["Attempt"], "Request | Ending"]
    BadInput = tuple[type[Exception], ...]

DONE, BAD_CONFIG, BAD_INPUT, DIVERGED, INTERNAL, TEMPORARY, FENCED = 0, 64, 65, 66, 70, 75, 79

logger = logging.getLogger("trainer.attempt")


class Attempt:
    """This process's go at one job: the lease on it, and what the work may use."""

    def __init__(
        self, surroundings: platform.Surroundings, executor: grpc.Channel, registry: grpc.Channel
    ) -> None:
        """Take the lease; raises what `trainer.platform.Retry` raises."""
        self.executor = executor
        self.registry = registry
        self.work_dir = surroundings.work_dir
        self.credential = platform.Credential(surroundings.job_token, surroundings.traceparent)
        if surroundings.traceparent:
            logger.info("trace %s", surroundings.traceparent.split("-")[1])
        self._told_to_end = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self._told_to_end.set())
        failpoint.hit("before-lease")
        self.lease = Lease(executor, self.credential)

    def request(self) -> Request:
        """Tell what the platform, or whoever may end this process, asks for.

        Raises what ended the lease, if something did.
        """
        request = self.lease.request()
        if request is Request.GO_ON and self._told_to_end.is_set():
            return Request.STOP
        return request


@dataclass(frozen=True)
class Ending:
    """What came of the work; `replayed_sha256` is for work that repeats a part of a training."""

    outcome: run_pb2.JobOutcome
    reason: str
    exit_code: int = DONE
    replayed_sha256: str = ""


def run(work: Work, *, bad_input: BadInput) -> int:
    """Run one attempt; answers the exit code.

    `work` returns GO_ON once it is done, or else the request that it has followed, or the Ending
    where neither says enough; `bad_input` are the exceptions by which it says that what it was
    given cannot be worked with.
    """
    logging.basicConfig(
        level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(name)s: %(message)s"
    )
    try:
        return _attempt(work, bad_input)
    except platform.FencedError as error:
        logger.warning("fenced: %s", error)
        return FENCED
    except platform.UnreachableError as error:
        logger.warning("giving up for now: %s", error)
        return TEMPORARY
    except platform.RefusedError as error:
        logger.warning("refused: %s", error)
        return INTERNAL
    except ConfigError as error:
        logger.warning("this process was not started by an executor: %s", error)
        return BAD_CONFIG


def _attempt(work: Work, bad_input: BadInput) -> int:
    surroundings = platform.Surroundings.from_environment()
    with (
        platform.channel(surroundings.executor_address) as executor,
        platform.channel(surroundings.registry_address) as registry,
    ):
        attempt = Attempt(surroundings, executor, registry)
        ending = _ending(attempt, work, bad_input)
        logger.info("ending: %s", ending.reason)
        attempt.lease.give_back(
            ending.outcome,
            ending.reason,
            ending.exit_code,
            replayed_sha256=ending.replayed_sha256,
        )
        return ending.exit_code


def _ending(attempt: Attempt, work: Work, bad_input: BadInput) -> Ending:
    """Do the work; raises only what leaves nobody to report to."""
    try:
        result = work(attempt)
    except (platform.FencedError, platform.UnreachableError):
        raise
    except ConfigError as error:
        ending = Ending(run_pb2.JOB_OUTCOME_USER_ERROR, str(error), BAD_CONFIG)
    except bad_input as error:
        ending = Ending(run_pb2.JOB_OUTCOME_USER_ERROR, str(error), BAD_INPUT)
    except DivergedError as error:
        ending = Ending(run_pb2.JOB_OUTCOME_DIVERGED, str(error), DIVERGED)
    except MemoryError as error:
        ending = Ending(run_pb2.JOB_OUTCOME_OUT_OF_MEMORY, str(error), INTERNAL)
    except platform.RefusedError as error:
        # Not the user's fault, and a new lease may fare better: a crash, which has its retries.
        ending = Ending(run_pb2.JOB_OUTCOME_CRASH, str(error), INTERNAL)
    except Exception as error:
        logger.exception("the work failed")
        ending = Ending(run_pb2.JOB_OUTCOME_CRASH, repr(error), INTERNAL)
    else:
        ending = result if isinstance(result, Ending) else _orderly(result)
    return ending


def _orderly(request: Request) -> Ending:
    if request is Request.GO_ON:
        return Ending(run_pb2.JOB_OUTCOME_COMPLETED, "everything is done")
    return Ending(run_pb2.JOB_OUTCOME_REQUESTED, f"asked to {request.value}")
