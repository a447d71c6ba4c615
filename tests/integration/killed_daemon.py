"""Kills what runs under ``meso dev`` (run workers, the daemon, its servers, everything) and looks at what comes of it.

``python tests/integration/killed_daemon.py --kills 20`` prints a table. Runs of many sessions are asked for, once
each; while they work through the queue something is killed again and again. Nobody helps, and each session must come
to the same bytes by itself. Where `meso dev` itself was killed it is started again, as after a restart of the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from killed_runs import KEY, Ground, Tally, _command, _parent, ground, kill

from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.jobs import TIME_AND_PLACE_SESSION as JOB
from meso_core.processes import ProcessId

#: What the job makes.
QUICK = tuple(name for name, declared in CATALOGUE.items() if declared.is_quick)
TARGETS = ("run worker", "everything", "run worker", "daemon", "code server", "run worker", "webserver")
#: Dagster runs an interrupted run again twice. A session that was hit more often is asked for again, as a person does.
_TRIES = 2
#: What nothing comes of for so long has come to a stop, s.
_STOPPED = 600.0
#: What cannot be the same in two sessions: records with the session's name, a picture with it in its title.
_NAME_THE_SESSION = ("alyx/fov_records.json", "alyx/snapshots.json", "reports/figures/frame_times.png")
_LAUNCH = """
mutation($tags: [ExecutionTag!]!) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "meso_assets.definitions", repositoryName: "__repository__", jobName: "%s"}
    runConfigData: {}, executionMetadata: {tags: $tags}
  }) { __typename ... on PythonError { message } }
}
"""


@dataclass
class Server:
    """``meso dev`` on a ground."""

    ground: Ground
    port: int
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        command = [sys.executable, "-c", "from meso_assets.cli import main; main()", "dev", "--port", str(self.port)]
        with (self.ground.folder / "dev.txt").open("ab") as log:
            self.started.append(
                subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)
            )

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.ground.environment,
            "DAGSTER_HOME": str(self.ground.folder / "home" / "dagster_home"),
            "MESO_SCAN_EVERY_S": "30",
        }

    def log(self) -> str:
        """Return the end of what it has printed."""
        return (self.ground.folder / "dev.txt").read_text(errors="replace")[-1500:]

    def launch(self, session: str) -> bool:
        """Ask for a run, as a person does in the interface; returns whether the server has taken it."""
        tags = [{"key": "dagster/partition", "value": f"{KEY.rpartition('/')[0]}/{session}"}]
        body = json.dumps({"query": _LAUNCH % JOB, "variables": {"tags": tags}}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/graphql", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                told = json.load(answer)
        except (OSError, urllib.error.URLError):
            return False
        return told.get("data", {}).get("launchRun", {}).get("__typename") == "LaunchRunSuccess"

    def find(self, target: str) -> list[psutil.Process]:
        found = self.ground.processes()
        if target == "everything":
            return found
        by_pid = {p.pid: " ".join(_command(p)) for p in found}
        servers = {p for p, text in by_pid.items() if "api grpc" in text}
        workers = {p.pid for p in found if "multiprocessing.spawn" in by_pid[p.pid] and _parent(p) in servers}
        if target in ("run worker", "code server"):
            chosen = [p for p in found if p.pid in (workers if target == "run worker" else servers)]
            return random.sample(chosen, 1) if chosen else []
        text = {"daemon": "dagster-daemon run", "webserver": "dagster-webserver", "meso dev": "dev --port"}[target]
        return [p for p in found if text in by_pid[p.pid]]


@dataclass
class Watched:
    """A session that is to come to its end while things are killed around it."""

    folder: Path
    #: What was killed while a run of it worked.
    hits: list[str] = field(default_factory=list)
    asked: bool = False
    whole: bool = False

    def leaders(self) -> set[int]:
        """Numbers of the processes that lead runs of it now."""
        found = set()
        for claim in (self.folder / ".meso" / "claims").glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                process = ProcessId.from_record(json.loads(claim.read_text())["process"])
                found |= {process.pid} if process and not process.is_gone else set()
        return found

    def is_whole(self, assets: tuple[str, ...]) -> bool:
        done = {path.stem for path in (self.folder / ".meso" / "manifests").glob("[!.]*.json")}
        return done >= set(assets) and not list((self.folder / ".meso" / "claims").glob("*.json"))


@dataclass
class Campaign:
    """Sessions, a server, and what was killed so far."""

    server: Server
    tally: Tally
    sessions: list[Watched]
    #: Kills that are not judged yet, for their sessions are not whole.
    open: list[tuple[str, list[Watched]]] = field(default_factory=list)
    last_news: float = field(default_factory=time.monotonic)

    def add_sessions(self, number: int) -> None:
        """Put sessions below the root as the rig delivers them."""
        ground, first = self.server.ground, 100 + len(self.sessions)
        for name in range(first, first + number):
            self.sessions.append(Watched(ground.session.with_name(str(name))))
            shutil.copytree(ground.folder / "raw", self.sessions[-1].folder, copy_function=shutil.copy2)

    def look(self) -> None:
        """Start what is not there, ask for what is not asked for, and judge what is whole."""
        if not self.server.find("meso dev"):
            self.server.start()
            time.sleep(5)
        for session in self.sessions:
            spent = session.hits.count("run worker") + session.hits.count("everything") > _TRIES
            if not session.asked and self.server.launch(session.folder.name):
                session.asked, self.last_news = True, time.monotonic()
            elif spent and not session.leaders() and not session.whole:
                session.hits.clear()
                session.asked = False
            if session.asked and not session.whole and session.is_whole(self.server.ground.assets):
                session.whole, self.last_news = True, time.monotonic()
        for target, hit in [each for each in self.open if all(session.whole for session in each[1])]:
            self.open.remove((target, hit))
            self.judge(target, [line for session in hit for line in self.differs(session)])

    def differs(self, session: Watched) -> list[str]:
        ground = self.server.ground
        found, want = (
            {k: v for k, v in files.items() if k not in _NAME_THE_SESSION}
            for files in (ground.files(session.folder), ground.want)
        )
        return [] if found == want else [f"{session.folder.name}: other bytes than undisturbed"]

    def judge(self, target: str, wrong: list[str]) -> None:
        self.tally.add(f"kills under the daemon: {target}", wrong)
        print(f"{self.tally.tried} kills judged, {len(self.open)} open: {target} {wrong}", file=sys.stderr, flush=True)

    def kill(self, target: str) -> bool:
        """Kill once, if there is something to kill at work."""
        at_work = [session for session in self.sessions if session.asked and not session.whole and session.leaders()]
        if not at_work or not (chosen := self.server.find(target)):
            return False
        if target == "run worker":
            at_work = [session for session in at_work if chosen[0].pid in session.leaders()]
            if not at_work:
                return False
        kill(chosen)
        for session in at_work:
            session.hits.append(target)
        self.open.append((target, at_work))
        self.last_news = time.monotonic()
        names = [session.folder.name for session in at_work]
        print(f"{target} killed ({len(chosen)} processes), {names} at work", file=sys.stderr, flush=True)
        return True

    def give_up(self) -> None:
        """Judge what is open as lost."""
        for target, hit in self.open:
            names = [session.folder.name for session in hit if not session.whole]
            self.judge(target, [f"{names} did not come to their end"])
        self.open.clear()


def campaign(tally: Tally, kills: int, port: int, seconds: float = 10**6) -> Tally:
    """Kill so often while the sessions work through the queue, and wait until all have come to their end."""
    until = time.monotonic() + seconds
    with ground("multiprocess", QUICK) as here:
        attack = Campaign(Server(here, port), tally, [])
        attack.add_sessions(max(2, kills // 3))
        sessions = attack.sessions
        made, next_kill = 0, time.monotonic()
        while time.monotonic() < attack.last_news + _STOPPED:
            attack.look()
            if made < kills and time.monotonic() > next_kill and time.monotonic() < until:
                made += attack.kill(TARGETS[made % len(TARGETS)])
                next_kill = time.monotonic() + random.uniform(0, here.seconds)
            enough = made >= kills or time.monotonic() > until
            if enough and not attack.open:
                break
            if not enough and all(session.whole for session in sessions):
                attack.add_sessions(2)
            time.sleep(0.3)
        attack.give_up()
        if made < kills and time.monotonic() < until:
            attack.judge("everything", [f"came to a stop after {made} kills: {attack.server.log()}"])
        kill(attack.server.find("everything"))
        if held := here.held():
            tally.add("kills under the daemon: places held at the end", held)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=len(TARGETS))
    parser.add_argument("--seconds", type=float, default=10**6, help="begin no kill after this time")
    parser.add_argument("--port", type=int, default=34567)
    parser.add_argument("--record", type=Path, help="file to which each kill is added as it is judged")
    chosen = parser.parse_args()
    print(campaign(Tally(chosen.record), chosen.kills, chosen.port, chosen.seconds).table())


if __name__ == "__main__":
    main()
