"""What a tick costs if Dagster's automation conditions decide what follows: ``python -m benchmarks.automation_tick``.

The assets are of the shape of meso's: the same names, what each is made of, one partition for each session, and
``AutomationCondition.eager()`` on each. Some sessions are made, the others are not; each size has a process of its own.
The records are in memory, so the times are those of processors alone, whatever else the machine does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import dagster as dg

from meso_assets.defs.catalogue import CATALOGUE

from . import plain_environment

_SESSIONS, _MADE = (100, 1_000, 10_000), 0.1
_HOUR_S = 3600


def _assets() -> list[dg.AssetsDefinition]:
    sessions = dg.DynamicPartitionsDefinition(name="session")
    outside = sorted({name for declared in CATALOGUE.values() for name in declared.inputs} - {*CATALOGUE})
    found = [dg.asset(name=name, partitions_def=sessions)(_nothing) for name in outside]
    for name, declared in CATALOGUE.items():
        inputs = [dg.AssetKey(one) for one in declared.inputs]
        eager = dg.AutomationCondition.eager()
        found.append(dg.asset(name=name, partitions_def=sessions, deps=inputs, automation_condition=eager)(_nothing))
    return found


def _nothing() -> None:
    """Make nothing."""


def _measure(n_sessions: int) -> dict[str, float]:
    """Time two ticks over so many sessions, s of a processor."""
    assets = _assets()
    keys = [f"SP{n // 1000:03d}/2023-03-03/{n % 1000:03d}" for n in range(n_sessions)]
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("session", keys)
        for key in keys[: round(_MADE * n_sessions)]:
            for asset in assets:
                instance.report_runless_asset_event(dg.AssetMaterialization(asset.key, partition=key))
        defs, cursor, took = dg.Definitions(assets), None, []
        for _ in range(2):
            begun = time.process_time()
            result = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=cursor)
            took.append(time.process_time() - begun)
            cursor = result.cursor
    return {"first": took[0], "later": took[1], "asked_for": result.total_requested}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, help="one size, without a table")
    chosen = parser.parse_args()
    if chosen.sessions:
        print(json.dumps(_measure(chosen.sessions)))
        return
    print(f"{len(_assets())} assets, {len(CATALOGUE)} of them with `eager()`; a tenth of the sessions is made\n")
    print("| sessions | first tick, s of a processor | a tick with nothing new |\n| ---: | ---: | ---: |")
    for n in _SESSIONS:
        command = [sys.executable, "-m", "benchmarks.automation_tick", "--sessions", str(n)]
        try:
            done = subprocess.run(
                command, env=plain_environment(), capture_output=True, text=True, check=True, timeout=_HOUR_S
            )
        except subprocess.TimeoutExpired:
            print(f"| {n:,} | more than {_HOUR_S} | – |", flush=True)
            continue
        took = json.loads(done.stdout)
        print(f"| {n:,} | {took['first']:.1f} | {took['later']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
