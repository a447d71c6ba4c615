"""The files of a run that its jobs read, and what they leave: in the home, which all nodes see.

What belongs here: names and contents of these files. ``N.json`` says what the tasks of a job do, ``N.sh`` is what SLURM
starts, ``N_TASK.log`` is what it prints, ``N_TASK.refused`` says why a node would not begin, and ``N_TASK.begun`` when
SLURM began it.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meso_core.errors import InputFileError, MesoError, MissingInputError
from meso_core.json_text import json_text
from meso_core.opening import RECORD_BYTES, read_plain
from meso_core.storage.files.atomic import make_folder, write_file

_FOLDER = "slurm"
#: Lines of a log that are told where a job has failed.
_LAST_LINES = 12
#: The shell outlives what it starts, also where that is killed for want of memory, and clears its scratch away.
_SCRIPT = """#!/bin/sh
trap : TERM
{command}
code=$?
scratch="${{TMPDIR:-/tmp}}/meso-jobs-$(id -u)/$SLURM_JOB_ID"
rm -rf "$scratch" "$scratch.lock"
exit $code
"""
#: Largest file of orders: the inputs of a step of a thousand fields of view are in it.
_LARGEST = 1 << 26


@dataclass(frozen=True, slots=True)
class JobOrder:
    """What one job, or one array of jobs, is to do."""

    session: str
    run_id: str
    #: Steps, one for each task.
    steps: tuple[str, ...]
    #: What executes each.
    commands: tuple[str, ...]
    cores: int
    memory_gb: float
    minutes: int
    #: Settings of the platform, as variables.
    environment: Mapping[str, str]
    #: What the machine that leads the run has (``compatibility``).
    leader: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> JobOrder:
        """Read it from its file."""
        record = json.loads(read_plain(path, _LARGEST))
        return cls(**{**record, "steps": tuple(record["steps"]), "commands": tuple(record["commands"])})

    def as_record(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


class RunFolder:
    """The folder of one run, beside what its steps print and hand on: `meso prune` takes it away with that.

    Parameters
    ----------
    records
        Folder of Dagster's records.
    run_id
        Run.
    """

    def __init__(self, records: Path, run_id: str) -> None:
        self.run_id = run_id
        self.path = records / "storage" / run_id / _FOLDER

    @classmethod
    def of(cls, order: Path) -> RunFolder:
        """Find the folder of the run to which a file of orders belongs."""
        return cls(order.parents[3], order.parents[1].name)

    def name(self, n: int) -> str:
        """Name of the n-th job, by which SLURM finds it again."""
        return f"meso-{self.run_id}-{n}"

    def write(self, n: int, order: JobOrder) -> Path:
        """Write an order, and the script that SLURM starts; return the script."""
        make_folder(self.path)
        spec, script = self.path / f"{n}.json", self.path / f"{n}.sh"
        write_file(spec, json_text(order.as_record()).encode())
        command = shlex.join([sys.executable, "-m", "meso_assets.runs.executors.slurm.job", str(spec)])
        write_file(script, _SCRIPT.format(command=command).encode())
        return script

    def orders(self) -> dict[int, JobOrder]:
        """All orders of the run."""
        found = {}
        for path in self.path.glob("*.json"):
            try:
                found[int(path.stem)] = JobOrder.read(path)
            except (MesoError, ValueError, TypeError, KeyError):  # of another version: none of its jobs is ours
                continue
        return found

    def log(self, n: int, task: str) -> Path:
        """Log of a task; ``%a`` stands for its number where SLURM fills that in."""
        return self.path / f"{n}_{task}.log"

    def refusal(self, n: int, task: int) -> Path:
        """File in which a node says why it would not begin."""
        return self.path / f"{n}_{task}.refused"

    def why_refused(self, n: int, task: int) -> str:
        """Reason of a node that would not begin; empty where it did."""
        return _text(self.refusal(n, task))

    def begun(self, n: int, task: int) -> Path:
        """File in which a job writes when SLURM began it, by SLURM's own words."""
        return self.path / f"{n}_{task}.begun"

    def when_begun(self, n: int, task: int) -> str:
        """When SLURM began a job, as the job itself was told; empty where that is not known."""
        return _text(self.begun(n, task))

    def tail(self, n: int, task: int) -> str:
        """Last lines of a log."""
        return "\n".join(_text(self.log(n, str(task))).splitlines()[-_LAST_LINES:])


def _text(path: Path) -> str:
    try:
        return read_plain(path, RECORD_BYTES).decode(errors="replace").strip()
    except (MissingInputError, InputFileError):
        return ""


def numbered(job: str, n_tasks: int) -> Sequence[str]:
    """Ids of the tasks of a job as SLURM tells them: one that is no array has none."""
    return [f"{job}_{task}" for task in range(n_tasks)] if n_tasks > 1 else [job]
