"""A real SLURM cluster on loopback, for tests: munged, one slurmctld, several slurmd, in a folder of its own.

Its nodes are all this machine, under names and ports of their own, or with clocks of their own. Without control groups
and without accounting: what ends jobs is the controller. A test may ``kill`` a part and ``start`` it again: the state
of the cluster stays.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil

from meso_core.processes import end_with_parent
from tests.other_machine import OtherMachine
from tests.real_servers import free_ports, program

PACKAGES = "the Debian packages slurm-wlm and munge"
#: What nodes tell that they have: more than this machine, for what a job asks for is from above.
CORES, MEMORY_MB = 4, 40_000
_STARTED_WITHIN_S = 30.0

_CONFIGURATION = """\
ClusterName=meso
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/{munged}.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=8
SlurmctldTimeout=8
KillWait=3
MinJobAge=120
MessageTimeout=5
SchedulerParameters=sched_interval=1,bf_interval=1
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
PropagateResourceLimits=NONE
{prolog}
{nodes}
PartitionName=meso Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=first Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10
"""


class SlurmCluster:
    """A cluster in a folder.

    Parameters
    ----------
    folder
        Empty folder.
    nodes
        Names of its nodes.
    machines
        Nodes, by their names, that are machines with clocks of their own, each with a munged.
    """

    def __init__(
        self, folder: Path, nodes: tuple[str, ...] = ("n1", "n2"), machines: tuple[OtherMachine, ...] = ()
    ) -> None:
        for name in ("slurmctld", "slurmd", "sbatch", "squeue", "munged"):
            program(name, PACKAGES)
        self.machines = {one.name: one for one in machines}
        self.folder, self.nodes = folder, nodes or tuple(self.machines)
        self.port, *ports = free_ports(1 + len(self.nodes))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("state", *(f"spool-{node}" for node in self.nodes)):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(64))
        key.chmod(0o600)
        folder.chmod(0o755)
        host = socket.gethostname()
        lines = [
            f"NodeName={node} NodeHostname={node if node in self.machines else host} NodeAddr=127.0.0.1 Port={port} "
            f"CPUs={CORES} RealMemory={MEMORY_MB} State=UNKNOWN"
            for node, port in zip(self.nodes, ports, strict=True)
        ]
        if self.machines:
            (folder / "prolog").write_text(_prolog(machines))
            (folder / "prolog").chmod(0o755)
        for name in ("munge", *(f"munge-{node}" for node in self.machines)):
            (folder / f"slurm{name.removeprefix('munge')}.conf").write_text(
                _CONFIGURATION.format(
                    host=host,
                    port=self.port,
                    folder=folder,
                    munged=name,
                    user=psutil.Process().username(),
                    # jobs have the environment of who submits them, and their node's clock by this alone
                    prolog=f"TaskProlog={folder}/prolog" if self.machines else "",
                    nodes="\n".join(lines),
                )
            )

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self) -> None:
        """Start all parts, and wait until jobs can run."""
        for node in ("", *self.machines):
            part, own = f"munged-{node}".rstrip("-"), f"munge-{node}".rstrip("-")
            files = [f"--{name}={self.folder}/{own}.{end}" for name, end in _MUNGE.items()]
            munge = [f"--key-file={self.folder}/munge.key", *files]
            self._start(part, [str(program("munged", PACKAGES)), "--foreground", "--num-threads=2", *munge], node)
            self._until((self.folder / f"{own}.socket").exists, part)
        self.start_controller(new=True)
        for node in self.nodes:
            self.start_node(node)
        self._until(lambda: self.states() == dict.fromkeys(self.nodes, "idle"), "the nodes")

    def start_controller(self, *, new: bool = False) -> None:
        """Start the controller, and wait until it answers."""
        # a connection that is only opened is not answered, so the port is not asked
        self._start("slurmctld", [str(program("slurmctld", PACKAGES)), "-D", *(["-c"] if new else [])])
        self._until(lambda: self.call("scontrol", "ping").returncode == 0, "slurmctld")

    def start_node(self, node: str) -> None:
        """Start the daemon of a node."""
        own = ["-f", str(self.folder / f"slurm-{node}.conf")] if node in self.machines else []
        self._start(node, [str(program("slurmd", PACKAGES)), "-D", "-N", node, *own], node)

    def heal(self) -> None:
        """Let all nodes take jobs again, whatever was done to them."""
        for node, state in self.states().items():
            if not state.startswith(("idle", "alloc", "mix")):
                self.call("scontrol", "update", f"NodeName={node}", "State=RESUME")
        self._until(lambda: self.states() == dict.fromkeys(self.nodes, "idle"), "the nodes")

    def kill(self, part: str) -> None:
        """Kill a part: ``slurmctld``, ``munged``, or a node with all that runs on it."""
        process = self._processes.pop(part)
        gone = [process.pid]
        if part in self.nodes:  # its step daemons are no children of it any more
            spool = str(self.folder / f"spool-{part}")
            gone += [p.pid for p in psutil.process_iter() if _is_of_node(p, part, spool)]
        found = [psutil.Process(pid) for pid in gone if psutil.pid_exists(pid)]
        for one in [child for p in found for child in _children(p)] + found:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGKILL)
        process.wait()

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Call one of SLURM's commands."""
        return subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, check=False, timeout=60
        )

    def states(self) -> dict[str, str]:
        """State of each node, as sinfo tells it."""
        told = self.call("sinfo", "-h", "-N", "-p", "meso", "-o", "%N|%t").stdout
        return dict(line.split("|") for line in told.splitlines())

    def jobs(self, *states: str) -> dict[str, dict[str, str]]:
        """Jobs by their id: name, state, node."""
        chosen = f"--states={','.join(states) or 'all'}"
        told = self.call("squeue", "-h", "-r", chosen, "-o", "%i|%j|%T|%N").stdout
        rows = [line.split("|") for line in told.splitlines()]
        return {row[0]: dict(zip(("name", "state", "node"), row[1:], strict=True)) for row in rows}

    def close(self) -> None:
        """End all parts and all jobs."""
        if "slurmctld" in self._processes:
            self.call("scancel", "-f", "-u", psutil.Process().username(), "--signal=KILL")
        for part in [*self.nodes, "slurmctld", *(f"munged-{node}" for node in self.machines), "munged"]:
            if part in self._processes:
                self.kill(part)

    def log(self, part: str) -> str:
        """End of what a part has printed."""
        return (self.folder / f"{part}.log").read_text(errors="replace")[-2000:]

    def _start(self, part: str, command: list[str], node: str = "") -> None:
        machine = self.machines.get(node)
        with (self.folder / f"{part}.log").open("ab") as log:
            self._processes[part] = subprocess.Popen(
                [*(machine.prefix if machine else []), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, **self.environment, **(machine.clock if machine else {})},
                preexec_fn=partial(end_with_parent, os.getpid()),
            )

    def _until(self, holds: Callable[[], bool], part: str) -> None:
        until = time.monotonic() + _STARTED_WITHIN_S
        while not holds():
            if time.monotonic() > until:
                logs = {name: self.log(name) for name in self._processes}
                self.close()
                raise RuntimeError(f"{part} does not start: {logs}")
            time.sleep(0.1)


_MUNGE = {
    "socket": "socket",
    "pid-file": "pid",
    "log-file": "log",
    "seed-file": "seed",
}


def _prolog(machines: tuple[OtherMachine, ...]) -> str:
    """Write the program that tells a job the clock of its node."""
    lines = ["#!/bin/sh", 'case "$SLURMD_NODENAME" in']
    for machine in machines:
        lines += [f"{machine.name})", *(f'echo "export {name}={value}"' for name, value in machine.clock.items()), ";;"]
    return "\n".join([*lines, "esac", ""])


def _is_of_node(process: psutil.Process, node: str, spool: str) -> bool:
    """Whether a process is the daemon of a job on a node, or the script of one."""
    with suppress(psutil.Error):
        if process.name() == "slurmstepd" or spool in " ".join(process.cmdline()):
            return process.environ().get("SLURMD_NODENAME") == node or spool in " ".join(process.cmdline())
    return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


@contextmanager
def slurm_cluster(folder: Path, machines: tuple[OtherMachine, ...] = ()) -> Iterator[SlurmCluster]:
    """Start a cluster and end it; of nodes with clocks of their own, where they are given."""
    cluster = SlurmCluster(folder, () if machines else ("n1", "n2"), machines)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()
