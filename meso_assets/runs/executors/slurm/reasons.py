"""Why a job of SLURM is over, in words, with what to do.

What belongs here: sentences. What is tried once more is a word of SLURM here, and done in ``engine``.
"""

from __future__ import annotations

from meso_core.imaging.needs import StepNeeds

from ...engines.slurm_commands import SlurmJob

#: The state after which a job is tried once more with twice the memory.
MORE_MEMORY = "OUT_OF_MEMORY"
#: States after which a job is tried once more: they say nothing of its step.
AGAIN = frozenset({MORE_MEMORY, "NODE_FAIL", "BOOT_FAIL", "PREEMPTED"})

_SAID = {
    "TIMEOUT": "SLURM ended it after {minutes} min, its limit of time. Give it more, as with --time=240 in "
    "MESO_SLURM_OPTIONS, then run it again; what was whole is not made again.",
    "DEADLINE": "SLURM ended it at its deadline. Leave --deadline out of MESO_SLURM_OPTIONS, then run it again.",
    MORE_MEMORY: "SLURM ended it for want of memory: it was given {memory:.1f} GB. If that happens again, ask for "
    "more, as with --mem in MESO_SLURM_OPTIONS, or lower suite2p's options nbins and nimg_init (MESO_SUITE2P).",
    "NODE_FAIL": "its node {node} failed or was taken out of the cluster. If other jobs fail there too, leave it out "
    "(--exclude={node} in MESO_SLURM_OPTIONS) and tell who runs the cluster.",
    "BOOT_FAIL": "its node {node} did not start. Tell who runs the cluster.",
    "PREEMPTED": "a job that goes first took its place. Run it again, or choose a partition or QOS whose jobs stay.",
    "CANCELLED": "somebody cancelled it (scancel), or SLURM did for a limit of the account. Run it again: what was "
    "whole is not made again.",
}
_UNKNOWN = (
    "SLURM does not know it any more, and it has not told its end. Look into its log, then run it again: what was "
    "whole is not made again."
)
_ENDED = (
    "its process ended without telling why ({state}{reason}). If there is no log, node {node} does not see MESO_HOME "
    "or the Python of this machine: both must be on the share."
)


def why_over(job: SlurmJob | None, number: str, needs: StepNeeds, tail: str, log: str) -> str:
    """Tell why a job is over whose step has not told its end.

    Parameters
    ----------
    job
        What SLURM tells of it; None where it does not know it.
    number
        Its id.
    needs
        What it was given.
    tail, log
        Last lines of its log, and where that is.
    """
    if job is None:
        said = _UNKNOWN
    else:
        reason = f", {job.reason}" if job.reason not in ("", "None", "(null)") else ""
        said = _SAID.get(job.state, _ENDED).format(
            minutes=needs.minutes,
            memory=needs.memory_gb,
            node=job.node.strip("()") or "that it was given",
            state=job.state,
            reason=reason,
        )
    return f"job {number}: {said} Its log is {log}" + (f" and ends:\n{tail}\n" if tail else ".")
