"""Kills what runs under ``meso dev`` (run workers, the daemon, everything) and looks at what comes of it.

``python tests/integration/killed_daemon.py --cycles 5`` prints a table. A run is asked for once; after that
nobody helps, and the session must come to the same bytes by itself. Where `meso dev` itself was killed it is started
again, as after a restart of the machine.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from killed_runs import KEY, Ground, Tally, _command, ground, kill

_DAGSTER = [sys.executable, "-m", "dagster"]
QUICK = ("imaging_metadata", "frame_qc", "frame_times", "mean_image_mlapdv", "alyx_fov_records")
TARGETS = ("run worker", "everything", "daemon", "webserver")
_ENDS_WITHIN = 420.0
#: What cannot be the same in two sessions: a record with the session's name, a picture with it in its title.
_NAME_THE_SESSION = ("alyx/fov_records.json", "reports/figures/frame_times.png")


@dataclass
class Server:
    """``meso dev`` on a ground."""

    ground: Ground
    port: int

    def start(self) -> None:
        command = [sys.executable, "-c", "from meso_assets.cli import main; main()", "dev", "--port", str(self.port)]
        with (self.ground.folder / "dev.txt").open("ab") as log:
            subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.ground.environment,
            "DAGSTER_HOME": str(self.ground.folder / "home" / "dagster_home"),
            "MESO_SCAN_EVERY_S": "30",
        }

    def launch(self, session: str) -> None:
        """Ask for a run, as a person does in the interface."""
        command = [*_DAGSTER, "job", "launch", "-j", "time_and_place_session", "-m", "meso_assets.definitions"]
        tags = json.dumps({"dagster/partition": f"{KEY.rpartition('/')[0]}/{session}"})
        subprocess.run([*command, "--tags", tags], env=self.environment, check=True, capture_output=True, timeout=200)

    def find(self, target: str) -> list[psutil.Process]:
        found = self.ground.processes()
        if target == "everything":
            return found
        by_pid = {p.pid: " ".join(_command(p)) for p in found}
        if target == "run worker":
            servers = {p for p, text in by_pid.items() if "api grpc" in text}
            return [p for p in found if "multiprocessing.spawn" in by_pid[p.pid] and p.ppid() in servers]
        text = {"daemon": "dagster-daemon run", "webserver": "dagster-webserver", "meso dev": "dev --port"}[target]
        return [p for p in found if text in by_pid[p.pid]]


def one_cycle(server: Server, name: str, target: str) -> list[str]:
    """Launch a run of a session, kill once while it works, and wait until the session has come to its end."""
    here = server.ground
    session = here.session.with_name(name)
    manifests = session / ".meso" / "manifests"
    server.launch(name)
    until = time.monotonic() + 200
    while time.monotonic() < until and not list((session / ".meso" / "claims").glob("*.json")):
        time.sleep(0.2)
    time.sleep(random.uniform(0, here.seconds / 3))
    chosen = server.find(target)
    while time.monotonic() < until and not chosen:
        time.sleep(0.1)
        chosen = server.find(target)
    if not chosen:
        return [f"no {target} to kill"]
    kill(chosen)
    killed_at = time.monotonic()
    print(f"{session.name}: {target} killed ({len(chosen)} processes)", file=sys.stderr, flush=True)
    want = set(here.assets)
    while time.monotonic() < killed_at + _ENDS_WITHIN:
        if not server.find("meso dev"):
            server.start()
        done = {path.stem for path in manifests.glob("[!.]*.json")}
        claimed = list((session / ".meso" / "claims").glob("*.json"))
        if done >= want and not claimed:
            break
        time.sleep(1)
    else:
        return [
            f"{session.name} did not come to its end after the {target} was killed: {sorted(want - done)} {claimed}"
        ]
    print(f"{session.name}: whole {time.monotonic() - killed_at:.0f} s after the kill", file=sys.stderr, flush=True)
    found, want = (
        {k: v for k, v in files.items() if k not in _NAME_THE_SESSION} for files in (here.files(session), here.want)
    )
    return [] if found == want else ["other bytes than undisturbed"]


def campaign(tally: Tally, cycles: int, port: int) -> Tally:
    """Kill once in the run of each of several sessions, what is in turn."""
    with ground("multiprocess", QUICK) as here:
        names = [f"{100 + cycle}" for cycle in range(cycles)]
        for name in names:
            shutil.copytree(here.folder / "raw", here.session.with_name(name), copy_function=shutil.copy2)
        server = Server(here, port)
        server.start()
        for cycle, name in enumerate(names):
            target = TARGETS[cycle % len(TARGETS)]
            tally.add(f"kills under the daemon: {target}", one_cycle(server, name, target))
        kill(server.find("everything"))
        if held := here.held():
            tally.add("kills under the daemon: places held at the end", held)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=len(TARGETS))
    parser.add_argument("--port", type=int, default=34567)
    parser.add_argument("--record", type=Path, help="file to which each kill is added as it is judged")
    chosen = parser.parse_args()
    print(campaign(Tally(chosen.record), chosen.cycles, chosen.port).table())


if __name__ == "__main__":
    main()
