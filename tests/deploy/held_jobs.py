"""Jobs of a cluster that stay in the middle of their step until a test lets them go: what is struck is at work."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import psutil
import pytest

from tests.integration.killed_runs import REPOSITORY, Ground

#: What process of a job is held, by a word of its command; and where, as soon as it is about to write there.
JOB, WORKER = ("executors.slurm.job", "/.meso/staging/"), ("imaging.fovs.worker", "/.meso/work/")
_HELD_WITHIN_S = 400.0


class HeldJobs:
    """Jobs of the runs of a ground, each held in the middle of its step."""

    def __init__(self, ground: Ground) -> None:
        self.folder = ground.folder / "held"
        found = os.pathsep.join([str(Path(__file__).parent / "held"), str(REPOSITORY)])
        ground.more = {**ground.more, "PYTHONPATH": found, "HELD_JOBS": str(self.folder)}

    def hold(self, process: tuple[str, str], asset: str = "") -> None:
        """Hold jobs that begin from now on, in such a process, at what it makes of an asset."""
        command, below = process
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        (self.folder / "hold.new").write_text(f"{command}\n{below}{asset}\n")
        (self.folder / "hold.new").rename(self.folder / "hold")

    def let_go(self) -> None:
        """Let all go on, and hold none that comes."""
        (self.folder / "hold").unlink(missing_ok=True)

    @property
    def are_held(self) -> bool:
        return (self.folder / "hold").exists()

    def process_of(self, job: str) -> psutil.Process:
        """The process that is held."""
        return psutil.Process(int((self.folder / f"{job}.held").read_text()))

    def wait_for_one(self, slurm, head=None) -> tuple[str, str]:
        """Wait until one is at work, some time longer, and return its id and its node."""
        until = time.monotonic() + _HELD_WITHIN_S
        while time.monotonic() < until and (head is None or head.poll() is None):
            running = slurm.jobs("RUNNING")
            if held := sorted({path.stem for path in self.folder.glob("*.held")} & {*running}):
                time.sleep(random.uniform(0, 3))
                number = random.choice(held)
                assert number in slurm.jobs("RUNNING"), "it is held"
                return number, running[number]["node"]
            time.sleep(0.1)
        pytest.fail("no job was held at work")
