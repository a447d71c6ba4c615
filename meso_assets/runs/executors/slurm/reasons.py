"""Why a job of SLURM is over, in words, with what to do.

What belongs here: sentences. What is tried once more is a word of SLURM here, and done in ``engine``.
"""

from __future__ import annotations

from meso_core.imaging.needs import StepNeeds

from ...engines.slurm_commands import SlurmJob

#: The state after which a job is tried once more with twice the memory.
MORE_MEMORY = "OUT_OF_MEMORY"
#: What meso calls the state of jobs that a controller has lost sight of. It saves what it knows each 5 s: one that is
#: killed and comes back does not know of jobs that were submitted after that, and begins anew those that were begun.
FORGOTTEN, BEGUN_TWICE = "FORGOTTEN", "BEGUN_TWICE"
#: States after which a job is tried once more: they say nothing of its step.
AGAIN = frozenset({MORE_MEMORY, "NODE_FAIL", "BOOT_FAIL", "PREEMPTED", FORGOTTEN, BEGUN_TWICE})

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
    FORGOTTEN: "SLURM does not know it any more, and it has not told its end. That happens where the controller is "
    "killed and started again. If it happens again, look into its log and tell who runs the cluster.",
    BEGUN_TWICE: "SLURM's controller came back without knowing that it was at work on {node}, began it a second time, "
    "and ended it. If it happens again, tell who runs the cluster.",
    "CANCELLED": "somebody cancelled it (scancel), or SLURM did for a limit of the account. Run it again: what was "
    "whole is not made again.",
}
_ENDED = (
    "its process ended without telling why ({state}{reason}). If there is no log, node {node} does not see MESO_HOME "
    "or the Python of this machine: both must be on the share."
)


def state_of(job: SlurmJob | None, begun: str) -> str:
    """State of a job that is over, in a word of SLURM or of meso.

    Parameters
    ----------
    job
        What SLURM tells of it; None where it does not know it.
    begun
        When SLURM began it, as the job itself was told; empty where that is not known.
    """
    if job is None:
        return FORGOTTEN
    # a node that is told to begin what is there at work refuses, and SLURM cancels it: nobody has asked for that
    return BEGUN_TWICE if job.state == "CANCELLED" and begun not in ("", job.begun) else job.state


def why_over(job: SlurmJob | None, state: str, number: str, needs: StepNeeds, tail: str, log: str) -> str:
    """Tell why a job is over whose step has not told its end.

    Parameters
    ----------
    job
        What SLURM tells of it; None where it does not know it.
    state
        Its state, :func:`state_of`.
    number
        Its id.
    needs
        What it was given.
    tail, log
        Last lines of its log, and where that is.
    """
    reason = f", {job.reason}" if job and job.reason not in ("", "None", "(null)") else ""
    said = _SAID.get(state, _ENDED).format(
        minutes=needs.minutes,
        memory=needs.memory_gb,
        node=(job.node.strip("()") if job else "") or "that it was given",
        state=state,
        reason=reason,
    )
    return f"job {number}: {said} Its log is {log}" + (f" and ends:\n{tail}\n" if tail else ".")
