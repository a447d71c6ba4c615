"""Many sessions on a cluster: 200 of 100 GB on a simulated clock, with what orchestration takes on real engines.

What a session without its science takes is measured with each engine. What its jobs take on a real SLURM goes into the
clock, which plays 200 sessions on clusters of 16 and 64 cores. Whether the clock is right is tried: it foretells the
wall time of some sessions at once on the real SLURM, whose jobs sleep for a fortieth of what their science would take.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from meso_core.machine import cores_at_hand

from . import Row
from .scale.clock import Clock, Costs, Played, Site
from .scale.engines import Ground, Taken, python_of_jobs, worker_of_celery
from .scale.plan import BYTES, N_FOVS, SimStep, large_session, without
from .scale.told import costs_of_run, read_jobs, steps_as_told

_N_SESSIONS = 200
#: Nodes, each of so many cores and GB; and how many slots a session at work at once is enough for (docs/scaling.md).
_NODES, _CORES, _MEMORY_GB, _SLOTS_OF_ONE = (1, 4), 16, 128.0, 8
#: Places for runs of what is quick beside those, as in the configuration of Dagster (``dagster.yaml``).
QUICK_RUNS = 2
#: Sessions at once that the table of docs/scaling.md compares.
_COMPARED = (2, 4, 8, 16)
#: Sessions with which the clock is tried, at once, and by what their science is made shorter.
_TRIED, _AT_ONCE, _SHORTER = 3, 2, 40.0
_ENGINES = ("multiprocess", "in_process", "celery", "slurm")
_LEADER_LIMIT_S, _RECORDS_LIMIT_MB = 0.5, 2.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What real engines took."""

    #: Engine → a session without its science.
    alone: dict[str, Taken]
    n_steps: int
    costs: Costs
    #: Some sessions at once on SLURM, s, and what the clock had foretold.
    tried: float
    foretold: float
    #: By which the records have grown with each session, bytes.
    growths: tuple[int, ...]


@contextmanager
def _servers(folder: Path) -> Iterator[tuple[Any, Any, Any]]:
    """Real servers: of the records, of the broker, and a SLURM of two nodes."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))  # where modules of tests find each other
    from tests.deploy.celery_broker import ValkeyServer
    from tests.deploy.slurm_cluster import slurm_cluster
    from tests.postgres import PostgresServer

    for name in ("postgres", "broker", "slurm"):
        (folder / name).mkdir()
    folder.chmod(0o755)  # the server of the records runs as another user where root measures
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        postgres = PostgresServer(folder / "postgres" / "server")
    broker = ValkeyServer(folder / "broker")
    broker.start()
    try:
        with slurm_cluster(folder / "slurm") as cluster:
            yield postgres, broker, cluster
    finally:
        broker.kill()
        postgres.end()


def _measure(folder: Path) -> Measured:
    with _servers(folder) as (postgres, broker, cluster):
        ground = Ground(folder / "ground", postgres.new_database())
        ground.folder.mkdir()
        ground.more |= cluster.environment
        ground.prepare(_TRIED)
        python, told = python_of_jobs(ground.folder)
        plan = without(large_session(), ".find_rois[")
        _sleep(told, dict.fromkeys((step.key for step in plan), 0.0))
        alone, sizes = {}, [ground.bytes_of_records()]
        for engine in _ENGINES:
            worker = worker_of_celery(ground, broker.address) if engine == "celery" else None
            alone[engine] = ground.run(ground.keys[0], engine, python)
            sizes.append(ground.bytes_of_records())
            if worker is not None:
                worker.kill()
        jobs = read_jobs(told, len(plan))
        costs = costs_of_run(plan, jobs, alone["slurm"])
        seconds = {step.key: step.seconds / _SHORTER for step in plan}
        _sleep(told, seconds)
        led = alone["slurm"].cpu / len(plan)  # what leads runs takes it of the same cores here
        foretold = _foretold(steps_as_told(plan, jobs, seconds), replace(costs, job=costs.job + led))
        tried = ground.run_many(ground.keys, "slurm", python, _AT_ONCE)
    grown = tuple(after - before for before, after in pairwise(sizes))
    return Measured(alone, len(jobs), costs, tried.seconds, foretold, grown)


def _sleep(told: Path, seconds: dict[str, float]) -> None:
    """Tell the jobs how long to sleep, by their steps."""
    told.with_name(f"{told.name}.seconds").write_text(json.dumps(seconds))


def _foretold(steps: Sequence[SimStep], costs: Costs) -> float:
    """Foretell the wall time of some sessions at once on the SLURM of the tests, all on this machine, s."""
    from tests.deploy.slurm_cluster import CORES, MEMORY_MB

    site = Site(2, CORES, MEMORY_MB / 1024, _AT_ONCE, shared_cores=cores_at_hand())
    return Clock(site, costs, [steps] * _TRIED).play().makespan


def _engine_rows(found: Measured) -> list[Row]:
    base = found.alone["multiprocess"].seconds
    on = f"session of {N_FOVS} small FOVs, {found.n_steps} steps, records in PostgreSQL, {cores_at_hand()} cores"
    rows = [
        Row(f"a session without its science, {name}; peer: multiprocess", base, one.seconds, "s", base / one.seconds,
            "told", on)
        for name, one in found.alone.items() if name != "multiprocess"
    ]  # fmt: skip
    for name in ("celery", "slurm"):
        cpu = found.alone[name].cpu / found.n_steps
        what = f"processor time of what leads it, a step, {name}; peer: the limit"
        rows.append(Row(what, _LEADER_LIMIT_S, cpu, "s", _LEADER_LIMIT_S / cpu, "≥ 1", on))
    first, last = found.growths[0] / 1e6, found.growths[-1] / 1e6
    what = "records in PostgreSQL that a session adds, the last; peer: the first"
    return [*rows, Row(what, first, last, "MB", first / last, "≈ 1: linear", f"{on}, {len(found.growths)} runs")]


def _play(steps: Sequence[SimStep], n_nodes: int, at_once: int, costs: Costs) -> Played:
    site = Site(n_nodes, _CORES, _MEMORY_GB, at_once, quick_runs=QUICK_RUNS)
    return Clock(site, costs, [steps] * _N_SESSIONS).play()


def _cluster_rows(costs: Costs) -> list[Row]:
    steps, rows = large_session(), []
    for n_nodes in _NODES:
        at_once = max(2, n_nodes * _CORES // _SLOTS_OF_ONE)
        played = _play(steps, n_nodes, at_once, costs)
        on = (
            f"{_N_SESSIONS} sessions of {BYTES / 1e9:.0f} GB, {N_FOVS} FOVs, {at_once} at once, on a simulated clock: "
            f"{n_nodes} × {_CORES} cores, {_MEMORY_GB:.0f} GB each"
        )
        busy, slots = played.busy(), played.site.slots
        hours = played.makespan / 3600, played.ideal / 3600
        rows += [
            Row(f"{slots} slots busy until the last tenth; peer: the goal", 0.9, busy, "share", busy / 0.9, "≥ 1", on),
            Row(f"all sessions on {slots} slots; peer: no slot ever idle", hours[1], hours[0], "h", hours[1] / hours[0],
                "told", on),
        ]  # fmt: skip
    return rows


def table_of_clusters(costs: Costs) -> str:
    """Lay out in Markdown what more or fewer sessions at once come to (docs/scaling.md)."""
    titles = "slots", "sessions at once", "slots busy", "quick results of all", "the first session", "all sessions"
    lines = [f"| {' | '.join(titles)} |", "| --- " + "| ---: " * (len(titles) - 1) + "|"]
    steps = large_session()
    quick = {step.key for step in steps if step.is_first}
    for n_nodes in _NODES:
        for at_once in _COMPARED:
            played = _play(steps, n_nodes, at_once, costs)
            known = max(one.end for one in played.spans if one.key in quick) / 3600
            hours = f"{known:.1f} h | {min(played.ended) / 3600:.1f} h | {played.makespan / 3600:.0f} h"
            slots = f"{played.site.slots} ({n_nodes} × {_CORES} cores, {_MEMORY_GB:.0f} GB each)"
            lines.append(f"| {slots} | {at_once} | {played.busy():.0%} | {hours} |")
    return "\n".join(lines)


def rows() -> list[Row]:
    """Measure the engines, try the clock, and play the clusters."""
    with tempfile.TemporaryDirectory(prefix="meso-scale-", dir="/tmp", ignore_cleanup_errors=True) as name:
        found = _measure(Path(name))
    on = (
        f"{_TRIED} sessions, {_AT_ONCE} at once, {found.n_steps} jobs each, on a real SLURM of 2 × 4 slots, all on "
        f"{cores_at_hand()} cores; sleeps for science"
    )
    what = "some sessions at once; peer: as the simulated clock foretold"
    clock = Row(what, found.foretold, found.tried, "s", found.foretold / found.tried, "0.87 to 1.15", on)
    print(f"{found.costs}\n{table_of_clusters(found.costs)}", file=sys.stderr)
    return [*_engine_rows(found), clock, *_cluster_rows(found.costs)]
