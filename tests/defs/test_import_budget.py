"""What loading costs, measured in fresh processes."""

import os
import subprocess
import sys

TIMED = "import time, {module}; print(time.process_time())"
HEAVY = ("torch", "suite2p", "numba", "matplotlib", "iblatlas", "one")
TURNS, TIMES_DAGSTER = 3, 3.5


def seconds_to_import(module: str) -> float:
    """Of the processor: how long that takes on the clock depends on what else the machine does."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", TIMED.format(module=module)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


def test_loading_the_code_location_costs_a_few_times_what_dagster_itself_costs():
    """In turns, the least of each: a machine may be slow, and may be slow for a while."""
    turns = [(seconds_to_import("meso_assets.definitions"), seconds_to_import("dagster")) for _ in range(TURNS)]
    ours, dagsters = (min(one) for one in zip(*turns, strict=True))
    assert ours <= TIMES_DAGSTER * dagsters


def test_the_code_location_brings_nothing_heavy():
    code = f"import sys, meso_assets.definitions; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == []
