"""What loading costs, measured in fresh processes."""

import os
import subprocess
import sys

TIMED = "import time, meso_assets.definitions; print(time.process_time())"
HEAVY = ("torch", "suite2p", "numba", "matplotlib", "iblatlas", "one")


def test_the_code_location_loads_in_three_seconds():
    """Of the processor: how long that takes on the clock depends on what else the machine does."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", TIMED]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert float(told.stdout) <= 3.0


def test_the_code_location_brings_nothing_heavy():
    code = f"import sys, meso_assets.definitions; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == []
