"""Kills runs at random moments, runs them again, and compares what is left with an undisturbed run.

``python tests/integration/killed_runs.py --seconds 600`` prints a table: what was killed under which executor, how
often, and what of it was not as it must be: another byte, a process that lives on, a file that changes after the kill,
a place in a pool or a claim that stays taken, a run that does not end. With ``--pairs`` it kills nothing: it starts
two runs at once.
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from attack_records import Record, table, write
from warm_start import Running, Warm

REPOSITORY = Path(__file__).resolve().parents[2]
KEY = "SP035/2023-03-03/001"
CHEAP = ("imaging_metadata", "reference_images", "frame_qc", "frame_times", "mean_image_mlapdv")
QUICK = ("imaging_metadata", "frame_qc")
SUITE2P = ("imaging_metadata", "frame_qc", "motion_registered_frames")
_MARK = "MESO_TEST_KILLS"
#: The first run must end within this time, s: it tells how fast this machine is now, and all other bounds follow.
_FIRST_WITHIN = 600.0
#: Processes of a killed run must be gone within the time that a run takes, but at least the first and at most the
#: second of these times, s: the kernel kills them at once, and each has but to get its turn to end.
_DEAD_WITHIN = (4.0, 15.0)
#: A run after kills may take so many times what an undisturbed one takes, and so much more, s: it looks every 5 s
#: whether those before it are dead, does no more than the undisturbed one, and the machine may have more to do by now.
_TIMES_LONGER, _LONGER = 5.0, 30.0


@dataclass
class Tally:
    """What was attacked, and what went wrong; kept in a file as it comes, where one is named."""

    file: Path | None = None
    records: list[Record] = field(default_factory=list)

    def add(self, row: str, wrong: Sequence[str], tried: int = 1) -> None:
        """Count attacks, and what was not as it must be after them."""
        record = Record(row, tried, tuple(wrong), min(len(wrong), tried))
        self.records.append(record)
        if self.file is not None:
            write(self.file, record)

    @property
    def tried(self) -> int:
        return sum(record.tried for record in self.records)

    @property
    def failures(self) -> list[str]:
        return [failure for record in self.records for failure in record.failures]

    def table(self) -> str:
        return table(self.records)


@dataclass
class Ground:
    """A root with one simulated session, a home, and how an undisturbed run leaves the session."""

    folder: Path
    executor: str
    assets: tuple[str, ...]
    want: dict[str, str] = field(default_factory=dict)
    #: How long a run takes that begins with the raw session, s.
    seconds: float = 0.0
    warm: Warm | None = None
    #: The longest that anything of a killed run was there, and that a run took after kills, s.
    slowest_death: float = 0.0
    slowest_run: float = 0.0
    #: Further variables of the runs.
    more: dict[str, str] = field(default_factory=dict)

    @property
    def dead_within(self) -> float:
        """How long anything of a killed run may be there, s."""
        least, most = _DEAD_WITHIN
        return min(most, max(least, self.seconds))

    @property
    def run_within(self) -> float:
        """How long a run may take, s."""
        return _TIMES_LONGER * self.seconds + _LONGER if self.seconds else _FIRST_WITHIN

    @property
    def session(self) -> Path:
        return self.folder / "Subjects" / KEY

    @property
    def title(self) -> str:
        """How tables name it."""
        return self.executor

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
        return kept | own | self.more

    def prepare(self) -> None:
        """Simulate the session, and run it once undisturbed."""
        from meso_core.simulate import preset, simulate_session

        simulate_session(self.folder / "Subjects", preset("tiny"))
        self.session.rename(self.folder / "raw")
        self.renew()
        assert self.start().wait(self.run_within) == 0, self.log()
        self.want = self.files()
        self.renew()
        self.warm = Warm(self.environment)
        started = time.monotonic()
        assert self.start().wait(self.run_within) == 0, self.log()
        self.seconds = time.monotonic() - started
        assert self.files() == self.want, "the same twice"

    def renew(self) -> None:
        """Begin anew with the raw session."""
        shutil.rmtree(self.session, ignore_errors=True)
        shutil.copytree(self.folder / "raw", self.session, copy_function=shutil.copy2)

    def start(self, *, cold: bool = False) -> Running | subprocess.Popen[bytes]:
        """Start a run; ``cold`` loads everything anew, as a command in a terminal does."""
        arguments = ["run", KEY, *(["--assets", ",".join(self.assets)] if self.assets else [])]
        if self.warm is not None and not cold:
            return self.warm.start(arguments, self.folder / "log.txt")
        command = [sys.executable, "-c", "from meso_assets.cli import main; main()", *arguments]
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)

    def log(self) -> str:
        """Return the end of what runs have printed."""
        return self.whole_log()[-1500:]

    def whole_log(self) -> str:
        """Return what runs have printed since it was emptied."""
        return (self.folder / "log.txt").read_text(errors="replace")

    def files(self, session: Path | None = None) -> dict[str, str]:
        """Hash of each file of the session, or of another one, that is no record of the platform."""
        session = session or self.session
        paths = (p for p in session.rglob("*") if p.is_file() and p.relative_to(session).parts[0] != ".meso")
        return {str(p.relative_to(session)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}

    def touched(self) -> dict[str, tuple[int, int]]:
        """Size and time of everything in the session, by its path below it."""
        found = {}
        for path in self.session.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                stat = path.lstat()
                found[str(path.relative_to(self.session))] = (stat.st_size, stat.st_mtime_ns)
        return found

    def processes(self) -> list[psutil.Process]:
        """Processes of this ground that run."""
        found = []
        for process in psutil.process_iter():
            if self.warm is not None and process.pid == self.warm.pid:
                continue
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(_MARK) == str(self.folder):
                    found.append(process)
        return found

    def still_there(self) -> list[str]:
        """What is left of a killed run after a while: processes, and files that change."""
        began = time.monotonic()
        while (left := self.processes()) and time.monotonic() < began + self.dead_within:
            time.sleep(0.05)
        self.slowest_death = max(self.slowest_death, time.monotonic() - began)
        wrong = [f"a process lives on: {' '.join(_command(p))[-120:]}" for p in left if p.is_running()]
        kill(left)  # what lives on is told once
        before = self.touched()
        time.sleep(0.3)
        return wrong + ([] if self.touched() == before else ["a file changed after the kill"])

    def run_to_the_end(self) -> list[str]:
        """Run again; tell what is not as the undisturbed run left it."""
        running, began = self.start(), time.monotonic()
        try:
            code = running.wait(self.run_within)
            self.slowest_run = max(self.slowest_run, time.monotonic() - began)
        except subprocess.TimeoutExpired:
            kill(self.processes())
            return [f"the next run did not end: {self.log()[-300:]}"]
        wrong = [] if code == 0 else [f"the next run ended with {code}: {self.log()[-300:]}"]
        if self.files() != self.want:
            wrong.append("other bytes than undisturbed")
        return wrong + self.left() + self.held()

    def left(self) -> list[str]:
        """What killed runs have left in the session though the next one has ended."""
        paths = list(self.touched())
        staged = tuple(f".meso/staging/{asset}/" for asset in self.assets)
        kinds = {
            "claims": [path for path in paths if path.startswith(".meso/claims/") and path.endswith(".json")],
            "staged files": [path for path in paths if path.startswith(staged)],
            "half-written files": [path for path in paths if Path(path).match(".*.part")],
        }
        return [f"{kind} stay: {found}" for kind, found in kinds.items() if found]

    def held(self) -> list[str]:
        """Places in the pool that are taken though nothing runs."""
        told = self.folder / "held.txt"
        told.unlink(missing_ok=True)
        code = _HELD
        if self.warm is None:
            with told.open("wb") as log:
                subprocess.run([sys.executable, "-c", code], env=self.environment, stdout=log, stderr=log, check=False)
        else:
            self.warm.start([], told, code).wait(self.run_within)
        text = told.read_text()
        return [] if text.split()[-2:] == ["0", "0"] else [f"places or runs held: {text[-200:]}"]


_HELD = """
from meso_assets.runs.instance import open_instance, SUITE2P_POOL
from meso_assets.runs.settings.settings import load_settings
from meso_assets.defs.dagster_internals import places_of
import dagster as dg
with open_instance(load_settings()) as instance:
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    print(len(places_of(instance, SUITE2P_POOL)), instance.get_runs_count(started))
"""


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


def targets(target: str, ground: Ground, head: Running | subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Find the processes to kill; empty where there is none yet."""
    if target == "group":
        return ground.processes()
    if target == "head":
        with contextlib.suppress(psutil.NoSuchProcess):  # it may end while it is looked for
            return [psutil.Process(head.pid)] if head.poll() is None else []
        return []
    wanted = "fovs.worker" if target == "worker" else "forkserver"
    found = [p for p in ground.processes() if wanted in " ".join(_command(p))]
    if target == "step":  # the server of the steps is the child of the head, the steps are its children
        found = [p for p in found if _parent(p) != head.pid]
    return [random.choice(found)] if found else []


def _parent(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.ppid())
    return -1


def one_kill(ground: Ground, target: str, moment: float, *, cold: bool = False) -> list[str] | None:
    """Start a run and kill at a moment, s; None if there was nothing to kill before it ended."""
    head = ground.start(cold=cold)
    until = time.monotonic() + moment
    while head.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    while head.poll() is None and not (chosen := targets(target, ground, head)):
        time.sleep(0.05)
    if head.poll() is not None:
        return None
    kill(chosen)
    try:  # a run whose step or worker was killed tells so and ends by itself
        head.wait(ground.run_within)
    except subprocess.TimeoutExpired:
        kill(ground.processes())
        head.wait(ground.run_within)
        return [f"the run whose {target} was killed did not end"]
    return ground.still_there()


def campaign(
    ground: Ground, kinds: Sequence[str], tally: Tally, *, seconds: float, kills: int = 10**9, per_life: int = 5
) -> None:
    """Kill until the time is over: several times in the life of a session, then run to the end and compare.

    The first run of each life is one that has to load everything.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until and tally.tried < kills:
        ground.renew()
        made: list[tuple[str, list[str]]] = []
        for number in range(min(per_life, kills - tally.tried)):
            target, cold = random.choice(kinds), number == 0
            wrong = one_kill(ground, target, random.uniform(0.1, 0.9 * ground.seconds + 3 * cold), cold=cold)
            if wrong is not None:
                made.append((f"kills of whole runs: {ROW[target]}, {ground.title}", wrong))
        wrong = ground.run_to_the_end()
        if made:
            made[-1][1].extend(wrong)
        for row, wrong in made:
            tally.add(row, wrong)
        slowest = f"slowest death {ground.slowest_death:.1f} s, slowest run {ground.slowest_run:.1f} s"
        kinds_made = [row.split(": ")[1] for row, _ in made]
        print(f"{tally.tried} kills; {slowest}; {kinds_made} {wrong}", file=sys.stderr, flush=True)


def pairs(ground: Ground, tally: Tally, *, seconds: float, races: int = 10**9) -> None:
    """Start two runs of the session at once, or nearly so, until the time is over.

    It was a race where one has waited for the other; two that begin in the same moment cannot but do so.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until and tally.tried < races:
        ground.renew()
        (ground.folder / "log.txt").write_text("")
        first, later = ground.start(), random.choice([0.0, 0.0, random.uniform(0, ground.seconds)])
        time.sleep(later)
        both = [first, ground.start()]
        try:
            codes = [running.wait(2 * ground.run_within) for running in both]
            wrong = [] if codes == [0, 0] else [f"they ended with {codes}: {ground.log()[-300:]}"]
            wrong += [] if ground.files() == ground.want else ["other bytes than undisturbed"]
            wrong += ground.held()
            if "waiting:" not in ground.whole_log():
                if later:  # the first had ended before
                    continue
                wrong.append(f"neither told that it waits: {ground.log()[-300:]}")
        except subprocess.TimeoutExpired:
            kill(ground.processes())
            wrong = [f"two runs at once did not end: {ground.log()[-300:]}"]
        tally.add(f"races: two runs of a session at once, {ground.title}", wrong)
        print(f"{tally.tried} pairs; {wrong}", file=sys.stderr, flush=True)


#: Target → how the table names it.
ROW = {
    "group": "all processes of a run",
    "head": "the head of a run alone",
    "step": "the process of a step alone",
    "worker": "a suite2p worker alone",
}


@contextlib.contextmanager
def ground(executor: str, assets: tuple[str, ...]) -> Iterator[Ground]:
    with tempfile.TemporaryDirectory(prefix="meso-kills-", ignore_cleanup_errors=True) as folder:
        made = Ground(Path(folder), executor, assets)
        try:
            made.prepare()
            yield made
        finally:
            kill(made.processes())
            if made.warm is not None:
                made.warm.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--times", type=int, default=10**9, help="kills, or pairs of runs, at most")
    parser.add_argument("--executor", default="multiprocess", choices=["multiprocess", "in_process"])
    parser.add_argument("--assets", default="quick", help=f"{', '.join(ASSETS)}, or names with commas between them")
    parser.add_argument("--pairs", action="store_true", help="two runs at once instead of kills")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--record", type=Path, help="file to which each life of a session is added as it ends")
    chosen = parser.parse_args()
    random.seed(chosen.seed)
    assets = ASSETS.get(chosen.assets) or tuple(chosen.assets.split(","))
    kinds = ["group", "head"]
    kinds += ["step"] if chosen.executor == "multiprocess" else []
    kinds += ["worker"] if "motion_registered_frames" in assets else []
    tally = Tally(chosen.record)
    with ground(chosen.executor, assets) as here:
        if chosen.pairs:
            pairs(here, tally, seconds=chosen.seconds, races=chosen.times)
        else:
            campaign(here, kinds, tally, seconds=chosen.seconds, kills=chosen.times)
    print(tally.table())


ASSETS = {"quick": QUICK, "cheap": CHEAP, "suite2p": SUITE2P}

if __name__ == "__main__":
    main()
