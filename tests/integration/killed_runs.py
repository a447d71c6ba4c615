"""Kills runs at random moments, runs them again, and compares what is left with an undisturbed run.

``python tests/integration/killed_runs.py --seconds 600`` prints a table: what was killed under which executor, how
often, and what of it was not as it must be: another byte, a process that lives on, a file that changes after the kill,
a place in a pool or a claim that stays taken, a run that does not end.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
KEY = "SP035/2023-03-03/001"
CHEAP = ("imaging_metadata", "reference_images", "frame_qc", "frame_times", "mean_image_mlapdv")
SUITE2P = ("imaging_metadata", "frame_qc", "motion_registered_frames")
_MARK = "MESO_TEST_KILLS"
#: Processes of a killed run must be gone after this time, s, and a run must end within that one.
_DEAD_WITHIN, _RUN_WITHIN = 4.0, 240.0


@dataclass
class Tally:
    """What was killed, and what went wrong: (target, executor) → kills, and what was not as it must be."""

    tried: Counter = field(default_factory=Counter)
    failed: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, target: str, executor: str, wrong: Sequence[str]) -> None:
        self.tried[target, executor] += 1
        self.failed.setdefault((target, executor), []).extend(wrong)

    def table(self) -> str:
        rows = ["| killed | executor | tried | survived | failures |", "| --- | --- | ---: | ---: | --- |"]
        for (target, executor), tried in sorted(self.tried.items()):
            wrong = self.failed[target, executor]
            rows.append(f"| {target} | {executor} | {tried} | {tried - len(wrong)} | {'; '.join(wrong) or '0'} |")
        return "\n".join([*rows, f"| all | | {self.tried.total()} | | {sum(map(len, self.failed.values()))} |"])


@dataclass
class Ground:
    """A root with one simulated session, a home, and how an undisturbed run leaves the session."""

    folder: Path
    executor: str
    assets: tuple[str, ...]
    want: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def session(self) -> Path:
        return self.folder / "Subjects" / KEY

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "MESO_ROOT": str(self.folder / "Subjects"),
            "MESO_HOME": str(self.folder / "home"),
            "MESO_CACHE": str(self.folder / "cache"),
            "MESO_ATLAS": "phantom",
            "MESO_ATLAS_RESOLUTION_UM": "50",
            "MESO_EXECUTOR": self.executor,
            "MESO_QUIET_MINUTES": "0",
            "PYTHONPATH": str(REPOSITORY),
            _MARK: str(self.folder),
        }
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MESO_", "DAGSTER_", "COVERAGE_"))}
        return kept | own

    def prepare(self) -> None:
        """Simulate the session, and run it once undisturbed."""
        from meso_core.simulate import preset, simulate_session

        simulate_session(self.folder / "Subjects", preset("tiny"))
        shutil.copytree(self.session, self.folder / "raw", copy_function=shutil.copy2)
        started = time.monotonic()
        ended = self.start().wait(_RUN_WITHIN)
        self.seconds = time.monotonic() - started
        assert ended == 0, self.log()
        self.want = self.files()

    def renew(self) -> None:
        """Begin anew with the raw session."""
        shutil.rmtree(self.session)
        shutil.copytree(self.folder / "raw", self.session, copy_function=shutil.copy2)

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", "from meso_assets.cli import main; main()", "run", KEY]
        command += ["--assets", ",".join(self.assets)] if self.assets else []
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)

    def log(self) -> str:
        return (self.folder / "log.txt").read_text(errors="replace")[-1500:]

    def files(self, session: Path | None = None) -> dict[str, str]:
        """Hash of each file of the session, or of another one, that is no record of the platform."""
        session = session or self.session
        paths = (p for p in session.rglob("*") if p.is_file() and p.relative_to(session).parts[0] != ".meso")
        return {str(p.relative_to(session)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}

    def touched(self) -> dict[str, tuple[int, int]]:
        found = {}
        for path in self.session.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                stat = path.lstat()
                found[str(path)] = (stat.st_size, stat.st_mtime_ns)
        return found

    def processes(self) -> list[psutil.Process]:
        """Processes of this ground that run."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(_MARK) == str(self.folder):
                    found.append(process)
        return found

    def still_there(self) -> list[str]:
        """What is left of a killed run after a while: processes, and files that change."""
        until = time.monotonic() + _DEAD_WITHIN
        while (left := self.processes()) and time.monotonic() < until:
            time.sleep(0.05)
        kill(left)  # what lives on is told once
        before = self.touched()
        time.sleep(0.3)
        wrong = [f"a process lives on: {' '.join(_command(p))[:80]}" for p in left]
        return wrong + ([] if self.touched() == before else ["a file changed after the kill"])

    def run_to_the_end(self) -> list[str]:
        """Run again; tell what is not as the undisturbed run left it."""
        running = self.start()
        try:
            code = running.wait(_RUN_WITHIN)
        except subprocess.TimeoutExpired:
            kill(self.processes())
            return [f"the next run did not end: {self.log()[-300:]}"]
        wrong = [] if code == 0 else [f"the next run ended with {code}: {self.log()[-300:]}"]
        if self.files() != self.want:
            wrong.append("other bytes than undisturbed")
        if left := [p.name for p in (self.session / ".meso" / "claims").glob("*.json")]:
            wrong.append(f"claims stay: {left}")
        if left := [
            p.name for p in (self.session / ".meso" / "staging").glob("*") if p.name in self.assets and any(p.iterdir())
        ]:
            wrong.append(f"staged files stay: {left}")
        return wrong + self.held()

    def held(self) -> list[str]:
        """Places in the pool that are taken though nothing runs."""
        code = (
            "from meso_assets.runs.instance import open_instance, SUITE2P_POOL\n"
            "from meso_assets.runs.settings import load_settings\n"
            "from meso_assets.defs.dagster_internals import places_of\n"
            "import dagster as dg\n"
            "with open_instance(load_settings()) as instance:\n"
            "    print(len(places_of(instance, SUITE2P_POOL)), "
            "instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])))\n"
        )
        told = subprocess.run([sys.executable, "-c", code], env=self.environment, capture_output=True, text=True)
        return (
            []
            if told.stdout.split()[-2:] == ["0", "0"]
            else [f"places or runs held: {told.stdout or told.stderr[-200:]}"]
        )


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


def targets(target: str, ground: Ground, head: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Find the processes to kill; empty where there is none yet."""
    if target == "group":
        return ground.processes()
    if target == "head":
        return [psutil.Process(head.pid)] if head.poll() is None else []
    wanted = "fovs.worker" if target == "worker" else "forkserver"
    found = [p for p in ground.processes() if wanted in " ".join(_command(p))]
    if target == "step":  # the server of the steps is the child of the head, the steps are its children
        found = [p for p in found if _parent(p) != head.pid]
    return [random.choice(found)] if found else []


def _parent(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.ppid())
    return -1


def one_kill(ground: Ground, target: str, moment: float) -> list[str] | None:
    """Start a run and kill at a moment, s; None if there was nothing to kill before it ended."""
    head = ground.start()
    until = time.monotonic() + moment
    while head.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    while head.poll() is None and not (chosen := targets(target, ground, head)):
        time.sleep(0.05)
    if head.poll() is not None:
        return None
    kill(chosen)
    if target in ("group", "head"):
        head.wait()
        return ground.still_there()
    try:  # a run whose step or worker was killed tells so and ends by itself
        head.wait(_RUN_WITHIN)
    except subprocess.TimeoutExpired:
        kill(ground.processes())
        head.wait()
        return [f"the run whose {target} was killed did not end"]
    return ground.still_there()


def campaign(
    ground: Ground, kinds: Sequence[str], tally: Tally, *, seconds: float, kills: int = 10**9, per_life: int = 5
) -> None:
    """Kill until the time is over: several times in the life of a session, then run to the end and compare."""
    until, done = time.monotonic() + seconds, 0
    while time.monotonic() < until and done < kills:
        ground.renew()
        made: list[str] = []
        for _ in range(min(per_life, kills - done)):
            target = random.choice(kinds)
            wrong = one_kill(ground, target, random.uniform(0.3, 0.8 * ground.seconds))
            if wrong is not None:
                tally.add(target, ground.executor, wrong)
                made.append(target)
                done += 1
        wrong = ground.run_to_the_end()
        if wrong and made:
            tally.failed[made[-1], ground.executor].extend(wrong)
        print(f"{done} kills; {made} {wrong}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def ground(executor: str, assets: tuple[str, ...]) -> Iterator[Ground]:
    with tempfile.TemporaryDirectory(prefix="meso-kills-", ignore_cleanup_errors=True) as folder:
        made = Ground(Path(folder), executor, assets)
        made.prepare()
        try:
            yield made
        finally:
            kill(made.processes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--executor", default="multiprocess", choices=["multiprocess", "in_process"])
    parser.add_argument("--suite2p", action="store_true", help="kill in registration too, workers among others")
    parser.add_argument("--assets", default=",".join(CHEAP), help="with commas between them")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    random.seed(chosen.seed)
    kinds = [
        "group",
        "head",
        *(["step"] if chosen.executor == "multiprocess" else []),
        *(["worker"] if chosen.suite2p else []),
    ]
    tally = Tally()
    assets = SUITE2P if chosen.suite2p else tuple(chosen.assets.split(","))
    with ground(chosen.executor, assets) as here:
        campaign(here, kinds, tally, seconds=chosen.seconds)
    print(tally.table())


if __name__ == "__main__":
    main()
