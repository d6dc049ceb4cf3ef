"""Workers as Jobs of a Kubernetes cluster, one Job for each attempt, with one pod for each learner.

Beside the Job of a match or a build there is a pod for each of its agents, which is not followed:
the worker, its referee, notices when an agent is gone.

Everything that has to survive is in the cluster: another executor adopts what it finds there. A
cluster that does not answer changes nothing: what was last heard of a worker still holds, and
what could not be done is done again.
"""

from __future__ import annotations

import asyncio
import errno
import time
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog

from services.executor import log_text, wakeups
from services.executor.drivers import kube_job, kube_owned, kube_reading
from services.executor.drivers.driver import Observation, Phase
from services.executor.drivers.kube_api import AwayError, RefusedError
from services.executor.drivers.kube_logs import PodLog
from services.executor.drivers.kube_mirror import Mirror
from services.executor.turns import in_turns

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from services.executor.drivers.driver import Launch
    from services.executor.drivers.kube_api import KubeApi
    from services.executor.drivers.kube_job import Manifest, Placement

_KILL_GRACE_S = 1
_AWAY_S = 2.0
_FORCE_S = 60.0
"""Seconds after which a pod that cannot be killed, because its node is lost, is given up."""
_KUEUE = "kueue.x-k8s.io"
_WORKLOAD_UID = f"{_KUEUE}/job-uid"

logger = structlog.get_logger("executor.kubernetes")


class KubernetesDriver:
    """Runs workers where `placement` says; `directory` keeps their output until it is discarded."""

    def __init__(self, api: KubeApi, placement: Placement, directory: Path) -> None:
        namespace = placement.namespace
        self._api = api
        self._placement = placement
        self._directory = directory
        self._jobs_path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self._pods_path = f"/api/v1/namespaces/{namespace}/pods"
        self._secrets_path = f"/api/v1/namespaces/{namespace}/secrets"
        self._services_path = f"/api/v1/namespaces/{namespace}/services"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs = Mirror(api, self._jobs_path, self._wake)
        self._pods = Mirror(api, self._pods_path, self._wake)
        self._logs: dict[str, PodLog] = {}
        self._killed_at: dict[str, float] = {}
        self._dismissed: set[str] = set()
        directory.mkdir(parents=True, exist_ok=True)

    async def run(self) -> None:
        """Follow the Jobs and pods of the cluster until cancelled."""
        self._loop = asyncio.get_running_loop()
        mirrors = (self._jobs, self._pods)
        for mirror in mirrors:
            mirror.start()
        try:
            await asyncio.Event().wait()
        finally:
            for followed in (*mirrors, *self._logs.values()):
                followed.end()

    def _wake(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(wakeups.wake, wakeups.RECONCILER)

    async def check(self) -> None:
        """Raise AwayError where the API server has not told what changes for some seconds."""
        away_s = max(self._jobs.away_s(), self._pods.away_s())
        if not self._is_synced or away_s > _AWAY_S:
            raise AwayError(f"the API server was not heard of for {away_s:.0f} s")

    async def launch(self, launch: Launch) -> None:
        """Create the Job of the attempt and what goes with it, unless they are there."""
        try:
            manifest = kube_job.job(launch, self._placement)
        except ValueError as error:
            raise OSError(errno.EINVAL, str(error)) from error
        try:
            await asyncio.to_thread(self._create, launch, manifest)
        except AwayError as error:
            logger.warning("cluster_away", job=launch.name, error=str(error))
        except RefusedError as refusal:
            raise OSError(errno.EPERM, str(refusal)) from refusal

    def _create(self, launch: Launch, manifest: Manifest) -> None:
        try:
            job = self._api.create(self._jobs_path, manifest)
        except RefusedError as refusal:
            if refusal.status != HTTPStatus.CONFLICT:
                raise
            job = self._adopt(launch)
        if launch.learners > 1 or launch.seats:
            self._ensure(self._services_path, kube_owned.service(launch, self._placement, job))
        if not (kube_reading.is_finished(job) or kube_reading.is_suspended(job)):
            for pod in kube_owned.agents(launch, self._placement, job):
                self._begin(pod)
        # No worker starts without its secret, so that whom it looks for has a name by then.
        self._ensure(self._secrets_path, kube_owned.secret(launch, self._placement, job))
        self._jobs.put(job)

    def _begin(self, pod: Manifest) -> None:
        """Create a pod that may be there already."""
        try:
            self._api.create(self._pods_path, pod)
        except RefusedError as refusal:
            if refusal.status != HTTPStatus.CONFLICT:
                raise

    def _ensure(self, path: str, item: Manifest) -> None:
        """Create an object, or bring the one that is there to what it should be."""
        try:
            self._api.create(path, item)
        except RefusedError as refusal:
            if refusal.status != HTTPStatus.CONFLICT:
                raise
            self._api.patch(f"{path}/{item['metadata']['name']}", item)

    def _adopt(self, launch: Launch) -> Manifest:
        job = self._api.get(self._job_path(launch.name))
        labels = job["metadata"].get("labels") or {}
        ours = (kube_job.OWNER, launch.name)
        if (labels.get(kube_job.MANAGED_BY), labels.get(kube_job.NAME_LABEL)) != ours:
            raise RefusedError(HTTPStatus.CONFLICT, "a Job of this name belongs to somebody else")
        return job

    def _job_path(self, name: str) -> str:
        return f"{self._jobs_path}/{kube_job.job_name(name)}"

    async def observe(self, names: Iterable[str]) -> dict[str, Observation]:
        """Say what was last heard of each worker; until anything was, that it waits."""
        return {name: await self._observe(name) async for name in in_turns(names)}

    async def inspect(self, name: str) -> Observation:
        """Ask the cluster for the worker's pod, and say what is known then."""
        await self._look(name)
        return await self._observe(name)

    async def _look(self, name: str) -> bool:
        try:
            await asyncio.to_thread(self._pods.look, name)
        except (AwayError, RefusedError) as error:
            logger.warning("pod_not_read", job=name, error=str(error))
            return False
        return True

    async def _observe(self, name: str) -> Observation:
        if not self._is_synced:
            return Observation(Phase.WAITING)
        job, pod = self._jobs.get(name), self._pods.get(name)
        if pod is None and job is not None and kube_reading.is_finished(job.object):
            # Jobs and pods are watched apart, and the news of the pod may be the later one.
            if not await self._look(name):
                return Observation(Phase.WAITING)
            pod = self._pods.get(name)
        try:
            seen = kube_reading.observation(
                job.object if job and not job.is_gone else None,
                pod.object if pod else None,
                is_pod_gone=pod is not None and pod.is_gone,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            logger.warning("status_quarantined", job=name, error=repr(error))
            return Observation(Phase.WAITING)
        if seen.phase is not Phase.EXITED:
            return seen
        if seen.fault is None:
            seen = self._with_fault_of_others(name, seen)
        if not await self._is_log_whole(name):
            return Observation(Phase.RUNNING, fault=seen.fault, detail=seen.detail)
        return replace(seen, last_words=log_text.last_words(self._log_file(name)))

    def _with_fault_of_others(self, name: str, seen: Observation) -> Observation:
        """Say what ended another learner, and with it this one."""
        for other in self._pods.others(name):
            theirs = kube_reading.observation(None, other.object, is_pod_gone=other.is_gone)
            if theirs.fault is not None:
                return replace(seen, fault=theirs.fault, detail=theirs.detail)
        return seen

    @property
    def _is_synced(self) -> bool:
        return self._jobs.is_synced and self._pods.is_synced

    async def terminate(self, name: str) -> None:
        """Have the cluster send SIGTERM, and SIGKILL after the grace of the kind of run."""
        try:
            await asyncio.to_thread(self._hold, name)
        except (AwayError, RefusedError) as error:
            logger.warning("worker_not_terminated", job=name, error=str(error))

    def _hold(self, name: str) -> None:
        """Have the cluster end the pod of a Job, and start none."""
        if self._is_queued(name):
            self._deactivate(name)
            return
        try:
            self._jobs.put(self._api.patch(self._job_path(name), {"spec": {"suspend": True}}))
        except RefusedError as refusal:
            if refusal.status != HTTPStatus.NOT_FOUND:
                raise

    def _is_queued(self, name: str) -> bool:
        """Say whether it is Kueue that starts a Job; what is not known yet queues if any does."""
        job = self._jobs.get(name)
        return bool(self._placement.queue) and (job is None or kube_reading.is_queued(job.object))

    def _deactivate(self, name: str) -> None:
        """Take a Job out of its queue: Kueue would start again what only the Job says to hold."""
        job = self._jobs.get(name)
        if job is None:
            return
        # Its API is still in motion: v1beta1 was served until 0.19, v1beta2 from 0.15 on.
        served = self._api.get(f"/apis/{_KUEUE}")["preferredVersion"]["groupVersion"]
        path = f"/apis/{served}/namespaces/{self._placement.namespace}/workloads"
        selector = f"{_WORKLOAD_UID}={job.object['metadata']['uid']}"
        for workload in self._api.get(path, labelSelector=selector)["items"]:
            name = workload["metadata"]["name"]
            self._api.patch(f"{path}/{name}", {"spec": {"active": False}})

    async def reap(self, name: str) -> bool:
        """Kill the pod, and say whether it is gone and its output is here."""
        if not self._is_synced:
            return False
        try:
            is_over = await asyncio.to_thread(self._kill, name)
        except (AwayError, RefusedError) as error:
            logger.warning("worker_not_reaped", job=name, error=str(error))
            return False
        return is_over and await self._is_log_whole(name)

    def _kill(self, name: str) -> bool:
        job, pod = self._jobs.get(name), self._pods.get(name)
        if job is not None:
            is_over = job.is_gone or kube_reading.is_finished(job.object)
            is_held = kube_reading.is_suspended(job.object) and not self._is_queued(name)
            if not (is_over or is_held):
                self._hold(name)
            self._dismiss_agents(name, job.object)
        pods = [*([pod] if pod else []), *self._pods.others(name)]
        left = [each for each in pods if not (each.is_gone or kube_reading.has_ended(each.object))]
        if not left:
            return True
        now = time.monotonic()
        is_lost = now > self._killed_at.setdefault(name, now) + _FORCE_S
        for each in left:
            path = f"{self._pods_path}/{each.object['metadata']['name']}"
            self._api.delete(path, gracePeriodSeconds=0 if is_lost else _KILL_GRACE_S)
        return False

    def _dismiss_agents(self, name: str, job: Manifest) -> None:
        """Kill the pods of an attempt's agents, which would last as long as its Job otherwise."""
        if name in self._dismissed:
            return
        for seat in range(kube_reading.seats(job)):
            path = f"{self._pods_path}/{kube_owned.agent_name(name, seat)}"
            self._api.delete(path, gracePeriodSeconds=_KILL_GRACE_S)
        self._dismissed.add(name)

    async def read_log(self, name: str, offset_bytes: int, limit_bytes: int) -> bytes:
        """Read from the file that takes the worker's output."""
        log = self._log_of(name)
        if log is not None and not log.is_whole:
            log.follow()
        return log_text.read(self._log_file(name), offset_bytes, limit_bytes)

    async def _is_log_whole(self, name: str) -> bool:
        log = self._log_of(name)
        return log is None or await asyncio.to_thread(log.finish)

    def _log_of(self, name: str) -> PodLog | None:
        """Return the log of a worker that has begun to print, as far as anybody knows."""
        pod = self._pods.get(name)
        if name not in self._logs and pod is not None and kube_reading.has_begun(pod.object):
            path = f"{self._pods_path}/{pod.object['metadata']['name']}/log"
            self._logs[name] = PodLog(self._api, path, self._log_file(name))
        return self._logs.get(name)

    def _log_file(self, name: str) -> Path:
        return self._directory / f"{kube_job.job_name(name)}.log"

    async def discard(self, name: str) -> None:
        """Delete the Job, and with it its pod and its Secret, and the file of its output."""
        try:
            await asyncio.to_thread(
                self._api.delete, self._job_path(name), propagationPolicy="Background"
            )
        except (AwayError, RefusedError) as error:
            # Its time to live removes it all the same.
            logger.warning("job_not_deleted", job=name, error=str(error))
        if (log := self._logs.pop(name, None)) is not None:
            log.end()
        self._killed_at.pop(name, None)
        self._dismissed.discard(name)
        self._log_file(name).unlink(missing_ok=True)
        for mirror in (self._jobs, self._pods):
            mirror.forget(name)
