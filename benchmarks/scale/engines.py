"""Real sessions on real engines, without their science: what orchestration takes, and whether the clock is right.

A session of 8 small fields of view is processed once. Others are copies of it, for which everything is as current. A
session is then run again after the record of its movies was taken away: each field of view is a step that finds its
work done, and everything else is current. Records are in a real PostgreSQL; SLURM and the broker of Celery are real.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import plain_environment

_MESO = "from meso_assets.cli import main; main()"
MOVIES = "motion_registered_frames"
#: Rows and columns of a small field of view.
_SMALL = (64, 64)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a run took."""

    #: When it began and ended, s of the clock of the machine.
    begin: float
    end: float
    #: Processor time of what led it, s; with ``in_process`` that of all its steps.
    cpu: float

    @property
    def seconds(self) -> float:
        """Wall time, s."""
        return self.end - self.begin


class Ground:
    """Sessions that are whole, and records in PostgreSQL.

    Parameters
    ----------
    folder
        Empty folder.
    address
        Of an empty database.
    """

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.root = folder, folder / "Subjects"
        self._address = address
        self.more: dict[str, str] = {}
        self.keys: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        """Variables of each process of meso."""
        return {
            **plain_environment(),
            "MESO_ROOT": str(self.root),
            "MESO_HOME": str(self.folder / "home"),
            "MESO_CACHE": str(self.folder / "cache"),
            "MESO_ATLAS": "phantom",
            "MESO_ATLAS_RESOLUTION_UM": "50",
            "MESO_POSTGRES": self._address,
            **self.more,
        }

    def prepare(self, n_sessions: int) -> None:
        """Simulate a session, process it, and write others like it."""
        from meso_core.simulate import preset, simulate_session

        rois = []
        for roi in preset("real").rois:
            (x, y), (ny, nx) = roi.size_deg, roi.shape
            rois.append(replace(roi, shape=_SMALL, size_deg=(x * _SMALL[1] / nx, y * _SMALL[0] / ny)))
        made = simulate_session(self.root, replace(preset("tiny"), rois=tuple(rois)))
        first = str(made.key)
        self._end(self.start(first, "multiprocess"), "multiprocess")
        self.keys = [first, *(f"{first.rpartition('/')[0]}/{n:03d}" for n in range(2, n_sessions + 1))]
        for key in self.keys[1:]:
            shutil.copytree(self.root / first, self.root / key, copy_function=shutil.copy2)

    def start(self, key: str, engine: str, python: Path | None = None) -> subprocess.Popen[bytes]:
        """Start to run a session; ``python`` starts the jobs of SLURM."""
        chosen = f"import sys; sys.executable = {str(python)!r}; " if python else ""
        with (self.folder / f"{engine}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", chosen + _MESO, "run", key],
                env={**self.environment, "MESO_EXECUTOR": engine},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _end(self, process: subprocess.Popen[bytes], engine: str) -> float:
        """Wait for the end of a run; return its processor time."""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = code = os.waitstatus_to_exitcode(status)
        if code:
            told = (self.folder / f"{engine}.log").read_text(errors="replace")[-3000:]
            raise RuntimeError(f"a run by {engine} ended with {code}: {told}")
        return used.ru_utime + used.ru_stime

    def forget_movies(self, keys: Collection[str]) -> None:
        """Let the movies of sessions be a result that is due, whose fields of view are all whole."""
        for key in keys:
            (self.root / key / ".meso" / "manifests" / f"{MOVIES}.json").unlink()

    def run(self, key: str, engine: str, python: Path | None = None) -> Taken:
        """Run a session without its science."""
        self.forget_movies([key])
        began = time.time()
        cpu = self._end(self.start(key, engine, python), engine)
        return Taken(began, time.time(), cpu)

    def run_many(self, keys: Sequence[str], engine: str, python: Path, most: int) -> Taken:
        """Run sessions without their science, so many at once."""
        self.forget_movies(keys)
        began, cpu, waiting, at_work = time.time(), 0.0, [*keys], list[subprocess.Popen[bytes]]()
        while waiting or at_work:
            while waiting and len(at_work) < most:
                at_work.append(self.start(waiting.pop(0), engine, python))
            over = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            found = next((one for one in at_work if over is not None and one.pid == over.si_pid), None)
            if found is None:  # another child of this process has ended
                time.sleep(0.2)
                continue
            cpu += self._end(found, engine)
            at_work.remove(found)
        return Taken(began, time.time(), cpu)

    def bytes_of_records(self) -> int:
        """Size of the database."""
        from sqlalchemy import text

        from meso_assets.runs.instance.on_server import connected

        with connected(self._address) as connection:
            return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())


def python_of_jobs(folder: Path) -> tuple[Path, Path]:
    """Write what starts the jobs of SLURM; return it, and the file to which they add what they took."""
    script, told = folder / "python", folder / "jobs.jsonl"
    job = Path(__file__).with_name("job.py")
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {job} {sys.executable} {told} "$@"\n')
    script.chmod(0o755)
    return script, told


def worker_of_celery(ground: Ground, address: str) -> Any:
    """Start a worker that takes all steps, as many at once as there are cores; it is ready."""
    from tests.deploy.celery_broker import Worker

    ground.more["MESO_BROKER"] = address
    environment = {**ground.environment, "MESO_EXECUTOR": "celery"}
    options = ("--queues", "io,memory", "--at-once", str(os.cpu_count()))
    return Worker(ground.folder, "one@here", *options, **environment).start().wait_until_ready()
