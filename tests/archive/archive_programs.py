"""Programs that a test needs and a machine may lack, and what decompression leaves running."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import psutil
import pytest


def needs(program: str) -> str:
    """Path of a program; without it the test is skipped, or fails where everything must be there."""
    found = shutil.which(program)
    if found is None:
        message = f"{program} is not there: apt install {program}"
        pytest.fail(message) if os.environ.get("MESO_TEST_STRICT") else pytest.skip(message)
    return found


def still_running() -> tuple[list[psutil.Process], list[str], list[str]]:
    """Children of this process (zombies too), threads that decompress, open pipes and archives."""
    threads = [thread.name for thread in threading.enumerate() if "zip2" in thread.name]
    descriptors = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:  # that of the listing itself
            continue
        if target.startswith("pipe:") or target.endswith(".bz2"):
            descriptors.append(target)
    return psutil.Process().children(recursive=True), sorted(threads), sorted(descriptors)
