"""Programs that a test needs and a machine may lack."""

from __future__ import annotations

import os
import shutil

import pytest


def needs(program: str) -> str:
    """Path of a program; without it the test is skipped, or fails where everything must be there."""
    found = shutil.which(program)
    if found is None:
        message = f"{program} is not there: apt install {program}"
        pytest.fail(message) if os.environ.get("MESO_TEST_STRICT") else pytest.skip(message)
    return found
