"""Holds a job of SLURM in the middle of its step, for as long as a test wants it to be at work.

Each Python of a run loads it, where this folder is on ``PYTHONPATH``. The folder that ``HELD_JOBS`` names has a file
``hold`` with two lines: what stands in the command of the process that is to be held, and in the path of the first
file that it opens to write. It waits there until that file is gone; a file named after its job has its number.
"""

import os
import sys
import time


def _hold_here(folder: str, path: str) -> None:
    held = False

    def hold(event: str, arguments: tuple) -> None:
        nonlocal held
        if held or event != "open" or path not in str(arguments[0]) or not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        held = True
        array, number = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ["SLURM_JOB_ID"]
        told = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else number
        file = os.open(f"{folder}/{told}.new", os.O_WRONLY | os.O_CREAT)
        os.write(file, str(os.getpid()).encode())
        os.close(file)
        os.replace(f"{folder}/{told}.new", f"{folder}/{told}.held")  # noqa: PTH105
        while os.access(f"{folder}/hold", os.F_OK):
            time.sleep(0.05)

    sys.addaudithook(hold)


def _begin(folder: str) -> None:
    try:
        with open(f"{folder}/hold") as file:  # noqa: PTH123  nothing is to be loaded here
            command, path = file.read().splitlines()
    except FileNotFoundError:
        return
    if any(command in argument for argument in sys.orig_argv):
        _hold_here(folder, path)


if os.environ.get("HELD_JOBS") and os.environ.get("SLURM_JOB_ID"):
    _begin(os.environ["HELD_JOBS"])
