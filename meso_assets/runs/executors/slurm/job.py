"""What SLURM starts on a node: one step of a run.

``python -m meso_assets.runs.executors.slurm.job N.json``; the task of an array is told by SLURM. What belongs here:
that the node is fit, what the step is given, and what is left behind. What does not: the step.

A signal with which SLURM ends the job is not told to the step: the process that leads the run asks SLURM for the
reason, which the step cannot know.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from meso_core.errors import MesoError
from meso_core.storage.files.atomic import write_file

from ...engines.slurm_commands import begun_at
from ...settings.engines import given_to_job
from ..ending import end_at_once
from ..job_scratch import own_scratch
from .orders import JobOrder, RunFolder


def main(spec: Path, task: int) -> int:
    """Run one task of an order; return the exit code of the process."""
    began = time.monotonic()
    order = JobOrder.read(spec)
    folder, n = RunFolder.of(spec), int(spec.stem)
    os.environ.update(order.environment)
    os.environ.update(given_to_job(order.cores, order.memory_gb))
    os.environ.pop("_MESO_STARTED_BY", None)
    with ExitStack() as until_end:
        end_at_once()
        threading.Thread(target=_note_begin, args=(folder, n, task), daemon=True).start()
        try:
            until_end.enter_context(own_scratch(os.environ.get("SLURM_JOB_ID", str(os.getpid()))))
            _refuse_another(order)
        except MesoError as error:
            write_file(folder.refusal(n, task), str(error).encode())
            sys.stderr.write(f"{error}\n")
            return 1
        from ....defs.dagster_internals.delegating import execute_step_here

        execute_step_here(order.commands[task])
        _tell_use(order, task, time.monotonic() - began)
    return 0


def _note_begin(folder: RunFolder, n: int, task: int) -> None:
    """Write down when SLURM began this job: a controller that forgets it begins it again, and tells another time."""
    array, number = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID")
    if number and (told := begun_at(f"{array}_{task}" if array else number)):
        with suppress(MesoError):  # it is of use only if the job is ended by a mistake of SLURM
            write_file(folder.begun(n, task), told.encode())


def _refuse_another(order: JobOrder) -> None:
    from ...settings.settings import load_settings
    from ..compatibility import Sameness

    Sameness(**order.leader).refuse(Sameness.of_this_machine(load_settings()))


def _tell_use(order: JobOrder, task: int, seconds: float) -> None:
    """Tell in the log of the run what the job was, and how much of what it was given it has used."""
    import dagster as dg

    from ....defs.dagster_internals.delegating import tell_of_step

    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu_s = sum(one.ru_utime + one.ru_stime for one in (own, children))
    peak_gb = (own.ru_maxrss + children.ru_maxrss) * 1024 / 1e9  # of its largest child, at another time maybe
    array, number = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID", "")
    told = {
        "job": f"{array}_{task}" if array else number,
        "node": os.environ.get("SLURMD_NODENAME", ""),
        "elapsed_s": f"{seconds:.1f}",
        "cpu_efficiency": f"{cpu_s / (seconds * order.cores):.0%}",
        "memory_efficiency": f"{peak_gb / order.memory_gb:.0%} of {order.memory_gb:.1f} GB",
    }
    used = f"{told['cpu_efficiency']} of its cores and {told['memory_efficiency']}"
    text = f"job {told['job']} on {told['node']} took {seconds:.0f} s, {used}"
    with dg.DagsterInstance.get() as instance:
        tell_of_step(instance, order.run_id, order.steps[task], text, told)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))))
