"""What workers printed, carried from the cluster into files, so that it outlives their pods."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from services.executor.drivers.kube_api import AwayError, RefusedError
from services.executor.drivers.kube_job import CONTAINER

if TYPE_CHECKING:
    from pathlib import Path

    from services.executor.drivers.kube_api import KubeApi

_SILENCE_S = 3600.0
_PAUSE_S = 1.0

logger = structlog.get_logger("executor.kubernetes")


class PodLog:
    """The output of one pod, at `path` in the API, appended to `file` while it comes.

    The API server gives a log only from its beginning, so that what the file holds already is
    skipped. A log that the kubelet rotated is shorter than that: what it lost is lost here too.
    """

    def __init__(self, api: KubeApi, path: str, file: Path) -> None:
        self._api = api
        self._path = path
        self._file = file
        self._turn = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self.is_whole = False

    def follow(self) -> None:
        """Carry what comes from now on, in a thread, until the worker ends."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, name=self._path, daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Stop carrying."""
        self._ended.set()

    def finish(self) -> bool:
        """Carry the rest of a worker that has ended; False where that has to be tried again."""
        if not self.is_whole:
            self._ended.set()
            try:
                self._carry(follow="false", read_s=10.0)
            except AwayError as error:
                logger.warning("log_not_read", path=self._path, error=str(error))
                return False
            except RefusedError as refusal:
                # The pod or its node is gone, and the rest of the log with it.
                logger.info("log_cut_off", path=self._path, error=str(refusal))
            self.is_whole = True
        return True

    def _follow(self) -> None:
        while not self._ended.is_set():
            try:
                self._carry(follow="true", read_s=_SILENCE_S)
            except (AwayError, RefusedError) as error:
                logger.info("log_interrupted", path=self._path, error=str(error))
            self._ended.wait(_PAUSE_S)

    def _carry(self, *, follow: str, read_s: float) -> None:
        """Append what is not in the file yet; one at a time, but for a follower that hangs."""
        position = 0
        for chunk in self._api.stream(self._path, read_s, container=CONTAINER, follow=follow):
            with self._turn:
                if follow == "true" and self._ended.is_set():
                    # Somebody else carries the rest: `finish`, or the executor that came after.
                    return
                held = self._file.stat().st_size if self._file.exists() else 0
                fresh = chunk[max(0, held - position) :]
                position += len(chunk)
                if fresh:
                    with self._file.open("ab") as output:
                        output.write(fresh)
