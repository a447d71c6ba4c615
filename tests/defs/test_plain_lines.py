"""Dagster's services write colours to a terminal alone, not into a file or the journal."""

import os
import pty
import subprocess
import sys

import pytest

WRITE = """
import logging, warnings
from dagster._utils.log import configure_loggers
from meso_assets.defs.dagster_internals.plain_lines import plain_from_now_on, plain_what_is_set_up
{before}
configure_loggers()
{after}
logging.getLogger("dagster.daemon").info("Instance is configured")
logging.getLogger("dagster.daemon").error("what failed")
"""
CALLS = {"before": ("plain_from_now_on()", ""), "after": ("", "plain_what_is_set_up()")}


def written(before, after, *, terminal=False, **environment):
    """Bytes that Dagster's lines are, in a process of its own."""
    command = [sys.executable, "-c", WRITE.format(before=before, after=after)]
    own = {**os.environ, **environment}
    if not terminal:
        return subprocess.run(command, env=own, check=True, stdout=subprocess.PIPE).stdout
    ours, theirs = pty.openpty()
    try:
        subprocess.run(command, env=own, check=True, stdout=theirs)
        return os.read(ours, 4096)
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("where", CALLS)
def test_lines_in_a_file_have_no_escapes_and_are_whole(where):
    lines = written(*CALLS[where]).decode().splitlines()
    assert [line.partition(" dagster.daemon - ")[2] for line in lines] == [
        "INFO - Instance is configured",
        "ERROR - what failed",
    ]
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize("where", CALLS)
def test_a_terminal_has_its_colours_unless_somebody_wants_none(where):
    assert b"\x1b[31m" in written(*CALLS[where], terminal=True, NO_COLOR="")
    assert b"\x1b" not in written(*CALLS[where], terminal=True, NO_COLOR="1")


def test_by_itself_dagster_colours_a_file_too():
    assert b"\x1b" in written("", ""), "where it does not any more, all this is no longer needed"
