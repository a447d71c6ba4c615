"""What a job of Kubernetes and its pod say of themselves, as one state and one reason.

What belongs here: how the many places where Kubernetes writes a reason are read. What to do about it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: The job is over, and its pod was taken away before it could be looked at: its node is gone, or somebody deleted it.
GONE = "Gone"
#: The process ended without an exit code of its own telling why.
ENDED = "Error"


@dataclass(frozen=True, slots=True)
class StepJob:
    """A job, and the pod that it has made."""

    name: str
    labels: tuple[tuple[str, str], ...]
    #: Whether it will do nothing more.
    is_over: bool
    #: Whether its process has begun.
    has_begun: bool = False
    #: Why it is over, or why it waits, in a word of Kubernetes; empty where there is nothing to tell.
    reason: str = ""
    #: What Kubernetes, or the last lines of the step, say of that.
    message: str = ""
    pod: str = ""
    node: str = ""
    #: Whether its node does not answer any more, so that nobody can tell whether it works.
    out_of_reach: bool = False

    def label(self, name: str) -> str:
        """Value of a label; empty where there is none."""
        return dict(self.labels).get(name, "")


def looked_at(job: Any, pods: Sequence[Any]) -> StepJob:  # noqa: ANN401  Kubernetes's
    """Put together what a job and its pods say.

    Parameters
    ----------
    job
        ``V1Job``.
    pods
        ``V1Pod`` of the namespace; those of other jobs are left alone.
    """
    name, labels = job.metadata.name, tuple(sorted((job.metadata.labels or {}).items()))
    own = [pod for pod in pods if (pod.metadata.labels or {}).get("job-name") == name]
    ended = {one.type: one for one in (job.status.conditions if job.status else None) or () if one.status == "True"}
    failed = ended.get("Failed") or ended.get("FailureTarget")
    if not own:
        if failed is None and "Complete" not in ended:
            return StepJob(name, labels, is_over=False)
        late = failed is not None and failed.reason == "DeadlineExceeded"
        return StepJob(
            name, labels, True, True, "DeadlineExceeded" if late else GONE, str(getattr(failed, "message", "") or "")
        )
    pod = max(own, key=lambda one: str(one.metadata.creation_timestamp))
    reason, message = _why(pod)
    terminal = pod.status.phase in ("Succeeded", "Failed")
    disturbed = any(one.type == "DisruptionTarget" and one.status == "True" for one in pod.status.conditions or ())
    leaving = pod.metadata.deletion_timestamp is not None
    return StepJob(
        name,
        labels,
        is_over=terminal or failed is not None,
        has_begun=terminal or pod.status.phase == "Running",
        reason=reason,
        message=message,
        pod=pod.metadata.name,
        node=pod.spec.node_name or "",
        out_of_reach=not terminal and leaving and disturbed,
    )


def _why(pod: Any) -> tuple[str, str]:  # noqa: ANN401  Kubernetes's
    """Find the reason of a pod: what came from outside goes before what its process shows of it."""
    status = pod.status
    ends = [one.state for one in status.container_statuses or () if one.state]
    terminated = next((state.terminated for state in ends if state.terminated), None)
    tail = str(terminated.message or "") if terminated else ""
    if status.reason:
        return status.reason, str(status.message or "") or tail
    for condition in status.conditions or ():
        if condition.type == "DisruptionTarget" and condition.status == "True":
            return condition.reason or "Evicted", str(condition.message or "")
    if terminated:
        if terminated.reason in (None, "", "Completed", ENDED):
            return (ENDED, tail or f"exit code {terminated.exit_code}") if terminated.exit_code else ("", tail)
        return terminated.reason, tail
    waiting = next((state.waiting for state in ends if state.waiting), None)
    if waiting:
        return str(waiting.reason or ""), str(waiting.message or "")
    for condition in status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return condition.reason or "Unschedulable", str(condition.message or "")
    return "", ""
