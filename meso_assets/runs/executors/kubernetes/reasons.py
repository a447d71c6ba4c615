"""Why the pod of a step is over, or waits, in words, with what to do.

What belongs here: sentences, and which reasons are worth another try. The try is made in ``engine``.
"""

from __future__ import annotations

from meso_core.imaging import StepNeeds

from ...engines.kubernetes_api import StepJob

#: The reason after which a step is tried once more with twice the memory.
MORE_MEMORY = "OOMKilled"
#: Reasons that say nothing of the step but that its pod lost its place.
_PLACE_LOST = frozenset(
    {
        *("Evicted", "EvictionByEvictionAPI", "TerminationByKubelet", "Preempting"),
        *("PreemptionByScheduler", "PreemptionByKubeScheduler"),
        *("NodeLost", "NodeShutdown", "Shutdown", "Terminated", "DeletionByTaintManager", "DeletionByPodGC", "Gone"),
        *("OutOfcpu", "OutOfmemory", "OutOfpods", "NodeAffinity", "UnexpectedAdmissionError"),
    }
)
#: Reasons after which a step is tried once more.
AGAIN = _PLACE_LOST | {MORE_MEMORY}
#: Reasons for which a pod waits that pass only when somebody changes something.
STUCK = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError",
     "CreateContainerError", "RunContainerError", "StartError", "ContainerCannotRun"}
)  # fmt: skip
#: Reasons of waiting that are no news.
USUAL = frozenset({"", "ContainerCreating", "PodInitializing"})

_DISK = "It may have written more than its node has room for: see `kubectl describe node {node}`. "
_SAID = {
    MORE_MEMORY: "it had no memory left: it was given {memory:.1f} GB. If that happens again, ask for more, as in "
    'MESO_K8S_STEP={{"container_config": {{"resources": {{"limits": {{"memory": "32Gi"}}, "requests": {{"memory": '
    '"32Gi"}}}}}}}}, or lower suite2p\'s options nbins and nimg_init (MESO_SUITE2P).',
    "DeadlineExceeded": "it was ended after {minutes} min, its limit of time. Give it more, as in "
    'MESO_K8S_STEP={{"pod_spec_config": {{"active_deadline_seconds": 14400}}}}, then run it again; what was whole is '
    "not made again.",
    "Evicted": "node {node} was short of something and put it out. " + _DISK,
    "Gone": "its pod was taken away with its node, or somebody deleted it.",
    "Deleted": "somebody deleted it (`kubectl delete job`). Run it again: what was whole is not made again.",
    "": "its process ended, and has not told the end of the step. Look into its log, then run it again: what was whole "
    "is not made again.",
    "Error": "its process ended without telling why.",
}
_LOST = "it lost its place on node {node}, which was drained, shut down or given to a pod that goes first."
_STUCK = (
    "its container cannot be started ({reason}). Correct the image (MESO_K8S_IMAGE), or the volumes and secrets "
    "(MESO_K8S_STEP), then run it again."
)


def why_over(job: StepJob, needs: StepNeeds) -> str:
    """Tell why a job is over whose step has not told its end.

    Parameters
    ----------
    job
        What Kubernetes tells of it.
    needs
        What it was given.
    """
    said = _SAID.get(job.reason)
    if said is None:
        said = (
            _LOST
            if job.reason in _PLACE_LOST or job.out_of_reach
            else _STUCK
            if job.reason in STUCK
            else _SAID["Error"]
        )
    node = job.node or "that it was given"
    text = said.format(minutes=needs.minutes, memory=needs.memory_gb, node=node, reason=job.reason).strip()
    named = "" if job.reason in ("", "Error", "Deleted") else f" ({job.reason})"
    tail = f" Kubernetes, or the end of its log, says:\n{job.message.strip()}\n" if job.message.strip() else ""
    return f"job {job.name}{named}: {text}{tail}"
