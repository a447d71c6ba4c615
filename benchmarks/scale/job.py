"""Stands in for the Python of the jobs of SLURM: waits as the science of a step would take, then does what it is asked.

Steps thus hold their slots as long as they would with their science, and everything else is real. A line for each job
goes to a file: its step, when it began and ended, the processor time of what it did. It loads nothing, for it counts.
"""

import json
import os
import sys
import time

_JOB = "meso_assets.runs.executors.slurm.job"


def _text(path: str) -> str:
    with open(path) as file:  # noqa: PTH123  pathlib takes longer to load than all else here
        return file.read()


def main() -> int:
    python, told, *arguments = sys.argv[1:]
    if _JOB not in arguments:
        os.execv(python, [python, *arguments])
    order = json.loads(_text(arguments[-1]))
    step = order["steps"][int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))]
    seconds = json.loads(_text(told + ".seconds"))[step]
    began = time.time()
    time.sleep(seconds)
    child = os.fork()
    if child == 0:
        os.execv(python, [python, *arguments])
    _, status, used = os.wait4(child, 0)
    row = {
        "session": order["session"],
        "step": step,
        **{name: order[name] for name in ("cores", "memory_gb", "minutes")},
        "begin": began,
        "end": time.time(),
        "slept": seconds,
        "cpu": used.ru_utime + used.ru_stime,
    }
    line = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(line, (json.dumps(row) + "\n").encode())
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
