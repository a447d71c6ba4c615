"""The steps of one run, and the jobs of Kubernetes that they are.

What belongs here: what a job that is over means for its step, and what is tried once more. What does not: how the API
server is asked (``kubernetes_api``), and what a pod does (``step``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg

from meso_core.errors import EngineError, MesoError
from meso_core.imaging import StepNeeds
from meso_core.json_text import json_text
from meso_core.session import SessionKey

from ....defs.dagster_internals import asset_of_step
from ....defs.dagster_internals.delegating import StepOrder
from ....defs.running.dead_runs import short
from ....io.session_names import PARTITION_TAG
from ...engines.kubernetes_api import SCRATCH, Cluster, PodOrder, StepJob, check_kubernetes, job_of_step
from ...settings.engines import given_to_job
from ...settings.settings import MesoSettings
from ..routing import EngineOfRun, RunNeeds
from .reasons import AGAIN, MORE_MEMORY, STUCK, USUAL, why_over
from .step import ORDER

#: Labels by which jobs are found again.
RUN_LABEL, OURS_LABEL = "meso/run", "meso/steps"
#: Between two questions to the API server, s: one for all jobs of the run.
_ASK_EVERY_S = 5.0
#: After what an API server that does not answer is asked again, s.
_AGAIN_S = 10.0
#: A step has told its end when its pod is over; its records may show it a moment later, s.
_GRACE_S = 4.0
#: A job that was made and is not found was deleted; an answer may be a moment old, s.
_UNKNOWN_S = 15.0
#: What a pod may wait for what somebody may just be putting right, and what a lost node may come back in, s.
_STUCK_S, _OUT_OF_REACH_S = 120.0, 60.0
#: A pod that waits for longer than this is told of, s.
_NEWS_S = 60.0
#: What a job of an earlier run has for its end, s.
_LEAVE_S = 120.0


@dataclass(slots=True)
class _Step:
    """A step, its job, and what was seen of it."""

    needs: StepNeeds
    n: int = 0
    name: str = ""
    #: Why an earlier job of the step was over, where this one is the second.
    before: str = ""
    #: Not made yet, for the API server did not answer.
    waits: bool = True
    made_at: float = 0.0
    seen: StepJob | None = None
    #: Since when it is as it should not stay.
    since: float | None = None
    told: str = ""


class KubernetesEngine(EngineOfRun):
    """Kubernetes for the steps of one run of a session."""

    name = "Kubernetes"

    def __init__(self, settings: MesoSettings, needs: RunNeeds, run: dg.DagsterRun, key: SessionKey) -> None:
        super().__init__(settings, needs, run, key)
        self._cluster: Cluster | None = None
        self._steps: dict[str, _Step] = {}
        self._lost: dict[str, str] = {}
        self._asked_at = self._not_before = 0.0

    @property
    def cluster(self) -> Cluster:
        """The way to the cluster, made once."""
        self._cluster = self._cluster or Cluster(self._settings)
        return self._cluster

    def begin(self, tell: Callable[[str], None]) -> None:
        """Check that Kubernetes takes steps of this lab, and end what an earlier run has left at work in this session.

        Raises
        ------
        SettingsError, EngineError
            As :func:`~meso_assets.runs.engines.kubernetes_api.check_kubernetes`; or if what was left does not end.
        """
        check_kubernetes(self._settings, self._needs.instance, self._run)
        until = time.monotonic() + _LEAVE_S
        told: set[str] = set()
        while left := [job for job in self.cluster.jobs({OURS_LABEL: "true"}).values() if self._is_left(job)]:
            for job in left:
                if job.name not in told:
                    told.add(job.name)
                    tell(f"job {job.name} of run {short(job.label(RUN_LABEL))}, which is over, is ended: this run goes "
                         "on with what it leaves")  # fmt: skip
                    self.cluster.delete(job.name)
            if time.monotonic() > until:
                raise EngineError.at(
                    f"Kubernetes, namespace {self.cluster.namespace}",
                    expected="jobs of an earlier run to end",
                    found=", ".join(sorted(told)),
                    remedy="Look whether their nodes answer (`kubectl get pods -o wide`), then run it again",
                )
            time.sleep(1.0)

    def _is_left(self, job: StepJob) -> bool:
        """Whether a job that is not over belongs to an earlier run of this session that is."""
        run_id = job.label(RUN_LABEL)
        if job.is_over or run_id == self._run.run_id:
            return False
        run = self._needs.instance.get_run_by_id(run_id)
        of_this_session = run is not None and run.tags.get(PARTITION_TAG) == self._run.tags.get(PARTITION_TAG)
        return run is not None and of_this_session and run.is_finished

    def launch(self, order: StepOrder) -> str:
        """Make the job of a step; where the API server does not answer, later."""
        needs = self._needs.of(order.step)
        step = _Step(needs.with_more_memory() if order.n_before else needs)  # the step itself asked for it
        self._lost.pop(order.step, None)
        self._steps[order.step] = step
        self._make(order, step)
        return f"{order.step} is handed to Kubernetes as job {step.name}"

    def _make(self, order: StepOrder, step: _Step) -> None:
        from dagster_k8s.job import get_k8s_job_name

        step.name = f"meso-{get_k8s_job_name(order.run_id, order.step)}-{order.n_before}-{step.n}"
        step.waits, step.seen, step.since = True, None, None
        try:
            self.cluster.create(job_of_step(self._settings, self._order(order, step), self._needs.instance, self._run))
        except EngineError as error:
            if not error.passes:
                self._lost[order.step] = str(error)
            elif not self._not_before:
                order.tell(f"{error} The step waits until it answers", {})
            self._not_before = time.monotonic() + _AGAIN_S
            return
        except MesoError as error:
            self._lost[order.step] = str(error)
            return
        self._not_before, step.waits, step.made_at = 0.0, False, time.monotonic()
        given = f"cores {step.needs.cores}, memory {step.needs.memory_gb:.1f} GB, at most {step.needs.minutes} min"
        order.tell(
            f"job {step.name} of Kubernetes: {given}",
            {"job": step.name, "memory_gb": f"{step.needs.memory_gb:.1f}", "cores": str(step.needs.cores)},
        )

    def _order(self, order: StepOrder, step: _Step) -> PodOrder:
        environment = {
            **self._settings.as_environment(),
            "DAGSTER_HOME": str(self._settings.dagster_home),
            "TMPDIR": SCRATCH,
            **given_to_job(step.needs.cores, step.needs.memory_gb),
            ORDER: json_text({"command": order.command, "leader": self._leader.as_record()}),
        }
        if not step.needs.gpu:  # one that a pod sees by chance would make another result
            environment["CUDA_VISIBLE_DEVICES"] = ""
        labels = {
            RUN_LABEL: order.run_id,
            OURS_LABEL: "true",
            "meso/session": self._session,
            "meso/asset": asset_of_step(order.step),
        }
        return PodOrder(step.name, step.needs, labels, environment)

    def terminate(self, order: StepOrder) -> None:
        """End the job of a step."""
        step = self._steps.pop(order.step, None)
        if step is not None and step.name:
            self.cluster.delete(step.name)

    def why_lost(self, order: StepOrder) -> str | None:
        """Why a step will not tell its end any more; None while its pod waits or works, or is tried once more."""
        if order.step in self._lost:
            return self._lost[order.step]
        step = self._steps.get(order.step)
        if step is None:
            return None
        if step.waits:
            if time.monotonic() >= self._not_before:
                self._make(order, step)
            return self._lost.get(order.step)
        self._ask(order)
        return self._judge(order, step)

    def _ask(self, order: StepOrder) -> None:
        """Ask for all jobs of the run at once."""
        now = time.monotonic()
        if now - self._asked_at < _ASK_EVERY_S:
            return
        self._asked_at = now
        try:
            found = self.cluster.jobs({RUN_LABEL: self._run.run_id})
        except MesoError as error:
            if not self._silent:
                order.tell(f"{error} Pods go on meanwhile; it is asked again", {})
            self._silent = True
            return
        self._silent = False
        for step in self._steps.values():
            if not step.waits and step.name:
                unknown = now - step.made_at > _UNKNOWN_S and step.name not in found
                step.seen = StepJob(step.name, (), True, reason="Deleted") if unknown else found.get(step.name)

    def _judge(self, order: StepOrder, step: _Step) -> str | None:
        job, now = step.seen, time.monotonic()
        if job is None:
            return None
        is_stuck = not job.is_over and not job.has_begun and job.reason in STUCK
        if not (job.is_over or is_stuck or job.out_of_reach):
            step.since = None
            self._tell_waiting(order, step, job, now)
            return None
        step.since = step.since or now
        if now - step.since < (_GRACE_S if job.is_over else _STUCK_S if is_stuck else _OUT_OF_REACH_S):
            return None
        told = why_over(job, step.needs)
        if not job.is_over:
            self._end(step)
        if not step.before and (job.reason in AGAIN or job.out_of_reach):
            order.tell(f"{told} It is tried once more", {"job": job.name, "pod": job.pod, "node": job.node})
            step.before, step.n = job.reason, step.n + 1
            step.needs = step.needs.with_more_memory() if job.reason == MORE_MEMORY else step.needs
            self._make(order, step)
            return self._lost.get(order.step)
        return told

    def _end(self, step: _Step) -> None:
        try:
            self.cluster.delete(step.name)
        except EngineError as error:
            if not error.passes:
                raise

    def _tell_waiting(self, order: StepOrder, step: _Step, job: StepJob, now: float) -> None:
        if job.has_begun:
            if step.told != job.node:
                step.told = job.node
                order.tell(f"job {job.name} works on node {job.node}", {"pod": job.pod, "node": job.node})
        elif now - step.made_at > _NEWS_S and job.reason not in USUAL and job.reason != step.told:
            step.told = job.reason
            order.tell(f"job {job.name} waits: Kubernetes says {job.reason}: {job.message}", {"job": job.name})
        elif now - step.made_at > _NEWS_S and not job.pod and step.told != "no pod":
            step.told = "no pod"
            order.tell(f"job {job.name} has no pod yet: `kubectl describe job {job.name}` tells why", {"job": job.name})
