"""SLURM as its own commands tell of it: sbatch, squeue, sacct, scancel, sinfo.

What belongs here: how they are called, how their answers are read, and which of their refusals is whose to mend. No
shell is in between: arguments are lists. What does not: which step is which job (``executors.slurm``).
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from meso_core.errors import EngineError, SettingsError

if TYPE_CHECKING:
    from meso_core.imaging import StepNeeds

    from ..settings.settings import MesoSettings

#: A controller that is busy answers late; SLURM's own limit is 10 s for a message, several times, s.
_ANSWERS_WITHIN_S = 60.0
_FIELDS = "%i|%j|%T|%N|%S|%r"
#: Times are told as seconds since 1970, by the clock of the controller: machines may have other zones.
_TIMES = {"SLURM_TIME_FORMAT": "%s"}
#: What SLURM says where it helps to ask again later: the controller is being started again, or is busy.
_PASSES = re.compile(r"contact slurm controller|timed out|connection refused|temporarily|backup controller", re.I)
#: What SLURM says of jobs that it does not know any more.
_UNKNOWN = "Invalid job id"
#: Reasons of FAILED by which it is the node that failed, not what the job did.
_OF_THE_NODE = ("JobLaunchFailure", "NodeDown")
_PARTITIONS = "Name one of those that `sinfo` lists, or leave it out for the usual one"
#: Refusal of sbatch → the setting to change, and how.
_REFUSALS = (
    (r"account", "MESO_SLURM_ACCOUNT", "Name one of those that `sacctmgr show assoc user=$USER` lists"),
    (r"partition", "MESO_SLURM_PARTITION", _PARTITIONS),
    (r"qos", "MESO_SLURM_OPTIONS", "Name a QOS that `sacctmgr show qos` lists"),
    (
        r"node configuration|memory spec|cpu count|node count",
        "MESO_SLURM_PARTITION",
        "Choose a partition whose nodes have that much (`sinfo -o '%P %c %m %G'`), or ask for less in "
        "MESO_SLURM_OPTIONS",
    ),
    (r"time limit", "MESO_SLURM_OPTIONS", "Choose a partition that allows it, or a shorter --time"),
)


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """What SLURM tells of a job, or of one task of an array."""

    #: ``12``, or ``12_3`` for a task.
    id: str
    name: str
    #: As in ``RUNNING``; without what stands behind it, as in ``CANCELLED by 1000``.
    state: str
    node: str
    #: When it was begun, or is to begin, s since 1970; a word where that is not known.
    begun: str
    reason: str

    @property
    def waits(self) -> bool:
        """Whether it has not begun."""
        return self.state in ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")

    @property
    def is_over(self) -> bool:
        """Whether it will do nothing more."""
        return not self.waits and self.state not in (
            "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING", "REQUEUE_FED"
        )  # fmt: skip


def options_of(settings: MesoSettings, needs: StepNeeds) -> list[str]:
    """Options of sbatch for a step that needs so much; those of the lab come last, and win."""
    given = {"partition": settings.slurm_partition, "account": settings.slurm_account}
    return [
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={needs.cores}",
        f"--mem={ceil(needs.memory_gb * 1e9 / 2**20)}M",
        f"--time={needs.minutes}",
        *(["--gres=gpu:1"] if needs.gpu else []),
        *(f"--{name}={value}" for name, value in given.items() if value),
        *shlex.split(settings.slurm_options),
    ]


def submit(options: Sequence[str], script: Path) -> str:
    """Submit a job; return its number.

    Raises
    ------
    SettingsError
        If SLURM refuses it for a partition, an account, or what is asked for.
    EngineError
        If SLURM does not answer; ``passes`` tells whether to ask again is of use.
    """
    return _call(["sbatch", "--parsable", *options, str(script)]).strip().partition(";")[0]


def my_jobs(prefix: str) -> list[SlurmJob]:
    """Find the jobs of this user whose names begin so, tasks of arrays one by one."""
    told = _call(["squeue", "-h", "-r", "--me", "-o", _FIELDS])
    return [job for job in _parsed(told) if job.name.startswith(prefix)]


def jobs_called(names: Collection[str]) -> list[SlurmJob]:
    """Find the jobs of these names that SLURM knows, tasks of arrays one by one."""
    return _parsed(_call(["squeue", "-h", "-r", "-t", "all", "-o", _FIELDS, f"--name={','.join(names)}"]))


def jobs_of(numbers: Collection[str]) -> dict[str, SlurmJob]:
    """Ask what SLURM tells of jobs, by their id; of those that it has forgotten, its accounting if it keeps one.

    Parameters
    ----------
    numbers
        Numbers of jobs or arrays.
    """
    try:
        told = _call(["squeue", "-h", "-r", "-t", "all", "-o", _FIELDS, f"--jobs={','.join(sorted(numbers))}"])
    except EngineError as error:
        if _UNKNOWN not in str(error):
            raise
        told = ""
    found = {job.id: job for job in _parsed(told)}
    gone = {number for number in numbers if not any(job.partition("_")[0] == number for job in found)}
    return {**(_from_accounting(gone) if gone else {}), **found}


def begun_at(job: str) -> str:
    """Ask when a job was begun, as :attr:`SlurmJob.begun` tells it; empty where SLURM does not answer."""
    try:
        return _call(["squeue", "-h", "-r", "-o", "%S", f"--jobs={job}"]).strip()
    except EngineError:
        return ""


def cancel(ids: Collection[str], *, waiting_alone: bool = False) -> None:
    """End jobs; those that are over are left alone."""
    if ids:
        _call(["scancel", *(["--state=PENDING"] if waiting_alone else []), *sorted(ids)])


def largest_node(partition: str) -> tuple[int, int]:
    """Most cores, and most memory in MiB, that a node of a partition has; of the usual one where none is named.

    Raises
    ------
    SettingsError
        If there is no such partition.
    """
    told = _call(["sinfo", "-h", "-o", "%P|%c|%m", *([f"--partition={partition}"] if partition else [])])
    rows = [line.split("|") for line in told.splitlines()]
    usual = [row for row in rows if row[0].endswith("*")]
    chosen = rows if partition else usual or rows
    if not chosen:
        raise SettingsError.at(
            "MESO_SLURM_PARTITION",
            expected="a partition of this cluster",
            found=partition or "no partition at all",
            remedy=_PARTITIONS,
        )
    return max(_number(row[1]) for row in chosen), max(_number(row[2]) for row in chosen)


def check_slurm(settings: MesoSettings) -> None:
    """Ask SLURM whether it would take a small job of this lab, without submitting one.

    Raises
    ------
    SettingsError
        If the partition or the account is unknown, or an option is.
    EngineError
        If SLURM's commands are not there, or its controller does not answer.
    """
    from meso_core.imaging import StepNeeds

    largest_node(settings.slurm_partition)
    _call(["sbatch", "--test-only", *options_of(settings, StepNeeds(1, 1.0, False, 1)), "--wrap=true"])


def _call(command: Sequence[str]) -> str:
    """Call one of SLURM's commands and return what it prints."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **_TIMES},
            capture_output=True,
            text=True,
            timeout=_ANSWERS_WITHIN_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise EngineError.at(
            "MESO_EXECUTOR=slurm",
            expected="SLURM's commands on this machine",
            found=f"no `{command[0]}`",
            remedy="Run meso on a machine that submits jobs (a login node), install SLURM's client there, or set "
            "MESO_EXECUTOR=multiprocess",
        ) from error
    except (subprocess.TimeoutExpired, OSError) as error:
        raise _no_answer(command[0], f"no answer: {error}") from error
    if done.returncode:
        raise _refused(command[0], " ".join(done.stderr.split()) or f"exit code {done.returncode}")
    return done.stdout


def _refused(command: str, said: str) -> EngineError | SettingsError:
    if not _PASSES.search(said) and command == "sbatch":
        for pattern, setting, remedy in _REFUSALS:
            if re.search(pattern, said, re.IGNORECASE):
                return SettingsError.at(setting, expected="a job that SLURM takes", found=said, remedy=remedy)
        return SettingsError.at(
            "MESO_SLURM_OPTIONS",
            expected="a job that SLURM takes",
            found=said,
            remedy="Correct the options; `sbatch --test-only` with them tells what is wrong",
        )
    return _no_answer(command, said)


def _no_answer(command: str, said: str) -> EngineError:
    error = EngineError.at(
        "SLURM",
        expected=f"an answer to `{command}`",
        found=said,
        remedy="Check the controller (`scontrol ping`), SLURM_CONF and munge on this machine; then run again",
    )
    error.passes = bool(_PASSES.search(said)) or "no answer" in said
    return error


def _parsed(told: str) -> list[SlurmJob]:
    rows = (line.split("|", 5) for line in told.splitlines() if line.count("|") >= 5)
    return [SlurmJob(i, name, _state(state, why), node, begun, why) for i, name, state, node, begun, why in rows]


def _state(told: str, reason: str) -> str:
    state = told.split(" ")[0]
    return "NODE_FAIL" if state == "FAILED" and reason in _OF_THE_NODE else state


def _from_accounting(numbers: Collection[str]) -> dict[str, SlurmJob]:
    """Ask what SLURM's accounting keeps of jobs; nothing where it keeps none."""
    command = ["sacct", "-n", "-P", "-X", "--format=JobID,JobName,State,NodeList,Start,Reason"]
    try:
        told = _call([*command, f"--jobs={','.join(sorted(numbers))}"])
    except EngineError:
        return {}
    return {job.id: job for job in _parsed(told)}


def _number(text: str) -> int:
    digits = re.match(r"\d+", text)
    return int(digits.group()) if digits else 1
