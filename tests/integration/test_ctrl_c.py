"""Ctrl-C in a terminal: told as interrupted everywhere and without a traceback, and the next run goes on."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import dagster as dg
import pytest

from meso_assets.overview.refresh import overview_of
from meso_assets.runs.instance import open_instance
from meso_core.simulate import simulate_session
from tests.integration.conftest import run_meso
from tests.short_session import short

ASSETS = ("imaging_metadata", "frame_qc", "motion_registered_frames")
WITHIN_S = 240


@pytest.fixture
def settings(tmp_path, make_settings, monkeypatch):
    made = make_settings(tmp_path, cores=2)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    for subject in ("SPA", "SPB"):
        simulate_session(made.root, replace(short(frames_per_bout=(60,)), subject=subject))
    return made


def interrupted(settings, *arguments, after):
    """Call ``meso`` in a terminal, press Ctrl-C when it has printed something; returns its status, and what it said."""
    environment = {**os.environ, **settings.as_environment()}
    terminal, inner = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from meso_assets.cli import main; main()", *arguments],
        env=environment,
        stdin=inner,
        stdout=inner,
        stderr=inner,
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(inner)
    told, pressed, until = b"", False, time.monotonic() + WITHIN_S
    try:
        while time.monotonic() < until:
            try:
                more = os.read(terminal, 1 << 16)
            except OSError:  # the last process that had it has ended
                break
            if not more:
                break
            told += more
            if not pressed and after.encode() in told:
                os.write(terminal, b"\x03")
                pressed = True
        status = process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    text = told.decode(errors="replace").replace("\r\n", "\n")
    assert pressed, text
    return status, text


def _take_terminal():
    import fcntl
    import termios

    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where tests run in the background
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def states(settings, session):
    with open_instance(settings) as instance:
        (one,) = (one for one in overview_of(settings, instance).sessions if one.session.startswith(session))
    return {cell.asset: cell for cell in one.cells}


def statuses(settings):
    with open_instance(settings) as instance:
        return [run.status for run in instance.get_runs()]


@pytest.mark.nightly
@pytest.mark.parametrize("executor", ["multiprocess", "in_process"])
@pytest.mark.parametrize(
    ("after", "asset"),
    [
        ("frame_qc                                   started", "frame_qc"),
        ("motion_registered_frames.register_fov[FOV_00] started", "motion_registered_frames"),
    ],
    ids=["a quick step", "suite2p"],
)
def test_a_session_that_is_stopped_is_interrupted_and_goes_on(settings, after, asset, executor):
    settings = settings.model_copy(update={"executor": executor})
    status, told = interrupted(settings, "run", "SPA", "--assets", ",".join(ASSETS), after=after)
    assert (status, "Traceback" in told) == (1, False), told
    assert "interrupted; run again, and it goes on where it was" in told
    assert re.search(rf"^{asset} +interrupted ", told, re.MULTILINE), told
    assert "failed" not in told.lower(), told
    found = states(settings, "SPA")
    assert found["imaging_metadata"].state.value == "done"
    assert found[asset].state.value == "interrupted", found[asset]
    assert "somebody stopped" in found[asset].why
    assert not [cell for cell in found.values() if cell.state.value == "failed"]
    assert "interrupted" in run_meso(settings, "status", "SPA").stdout
    again = run_meso(settings, "run", "SPA", "--assets", ",".join(ASSETS))
    assert again.returncode == 0, again.stdout + again.stderr
    assert {states(settings, "SPA")[asset].state.value for asset in ASSETS} == {"done"}


@pytest.mark.nightly
def test_of_many_sessions_no_other_begins(settings):
    status, told = interrupted(settings, "run", "SPA", "SPB", "--assets", "imaging_metadata,frame_qc", after="started")
    assert (status, "Traceback" in told) == (1, False), told
    assert "interrupted; 1 session was not begun" in told
    assert re.search(r"^SPA/2023-03-03/001 +\S+  interrupted", told, re.MULTILINE), told
    assert "session 2 of 2" not in told
    records = json.loads(run_meso(settings, "status", "--json").stdout)
    assert {one["state"] for one in records if one["session"].startswith("SPB") and one["asset"]} <= {
        "missing",
        "not applicable",
    }
    assert "interrupted" in {one["state"] for one in records if one["session"].startswith("SPA")}
    assert statuses(settings) == [dg.DagsterRunStatus.FAILURE]
    again = run_meso(settings, "run", "SPA", "SPB", "--assets", "imaging_metadata,frame_qc")
    assert again.returncode == 0, again.stdout + again.stderr


@pytest.mark.nightly
def test_between_two_steps_it_is_told_before_which(settings):
    status, told = interrupted(settings, "run", "SPA", "--assets", "imaging_metadata,frame_qc", after="done in")
    assert (status, "Traceback" in told) == (1, False), told
    found = states(settings, "SPA")
    assert (found["imaging_metadata"].state.value, found["frame_qc"].state.value) == ("done", "interrupted"), told
