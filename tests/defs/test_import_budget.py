"""What loading costs, measured in fresh processes, beside the bare import of what it stands on."""

import os
import subprocess
import sys

TIMED = """
import time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""
HEAVY = ("torch", "suite2p", "numba", "matplotlib", "iblatlas", "one")


def seconds_to_import(module: str, repeats: int = 2) -> float:
    """Best of a few fresh processes, s: the first one also reads the disk."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", TIMED.format(module=module)]
    runs = [
        subprocess.run(command, capture_output=True, text=True, check=True, env=environment) for _ in range(repeats)
    ]
    return min(float(run.stdout) for run in runs)


def test_the_code_location_loads_in_three_seconds():
    bare, ours = seconds_to_import("dagster"), seconds_to_import("meso_assets.definitions")
    # on a busy machine the bare import is slow too: then what we add to it must stay within half the budget
    assert ours <= max(3.0, bare + 1.5), f"code location {ours:.2f} s, bare dagster {bare:.2f} s"


def test_the_code_location_brings_nothing_heavy():
    code = f"import sys, meso_assets.definitions; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == []
