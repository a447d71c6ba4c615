"""Plots that another process draws are those that this one draws; what fails or is killed is told, and none stays."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from meso_core.errors import ProcessingError
from meso_core.report.draw.distributions import counts_plot, offsets_plot
from meso_core.report.draw.drawers import Drawers, processes_for
from meso_core.report.draw.plots import Plot, plot_of

#: Children of this process that a test found here: servers and workers of tests before it.
OTHERS = set[int]()


@pytest.fixture(autouse=True)
def _others_are_left_alone():
    OTHERS.clear()
    OTHERS.update(one.pid for one in psutil.Process().children())


def children():
    found = psutil.Process().children()
    return [one for one in found if one.pid not in OTHERS and one.status() != psutil.STATUS_ZOMBIE]


def begun(drawers, plot):
    """Begin a plot, and wait until a process has taken it up."""
    drawers.begin([plot])
    asked = drawers._asked[plot]
    while not (asked.running() or asked.done()):
        time.sleep(0.01)
    return plot


def test_plots_of_another_process_and_of_this_one_are_the_same_whatever_is_asked_first():
    plots = [plot_of(offsets_plot, [("FOV_00", 0.0), ("FOV_01", float(k))]) for k in range(1, 4)]
    plots.append(plot_of(counts_plot, {"VISp": 3, "VISl": 1}, "by-areas", "cells"))
    here = [plot.svg() for plot in plots]
    assert len(set(here)) == len(plots)
    for n_processes in (0, 1, 2):
        with Drawers(n_processes) as drawers:
            assert len(children()) == n_processes
            drawers.begin(plots)
            assert [drawers.svg(plot) for plot in reversed(plots)] == here[::-1]
        assert children() == []


def test_a_plot_that_cannot_be_drawn_is_named_with_what_went_wrong():
    with Drawers(1) as drawers:
        plot = begun(drawers, Plot(offsets_plot, (None,)))
        with pytest.raises(ProcessingError, match=r"offsets_plot(.|\n)*'NoneType' object is not iterable"):
            drawers.svg(plot)
    assert children() == []


def test_what_a_plot_warns_of_is_warned_of_here():
    with Drawers(1) as drawers:
        plot = begun(drawers, Plot(np.log, (np.float64(0),)))
        with pytest.warns(RuntimeWarning, match="divide by zero"):
            drawers.svg(plot)


@pytest.mark.parametrize("n_processes", [1, 2])
def test_processes_that_are_killed_are_an_error_that_says_so_and_nothing_waits_for_them(n_processes):
    with Drawers(n_processes) as drawers:
        plots = [begun(drawers, Plot(time.sleep, (600,))) for _ in range(n_processes)]
        more = plot_of(offsets_plot, [("FOV_00", 0.0)])
        drawers.begin([more])
        for one in children():
            one.kill()
        for plot in plots:
            with pytest.raises(ProcessingError, match=r"one ended with code -9 (.|\n)*Free memory"):
                drawers.svg(plot)
        with ThreadPoolExecutor(1) as beside:
            try:
                drawn = beside.submit(drawers.svg, more).result(timeout=60)
            except ProcessingError:
                drawn = more.svg()  # a dead process had taken it up before it was asked for
        assert drawn == more.svg()
    assert children() == []


def test_an_error_of_this_process_ends_those_that_draw_in_the_middle_of_a_plot():
    start = time.monotonic()

    def interrupted():
        with Drawers(1) as drawers:
            begun(drawers, Plot(time.sleep, (600,)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - start < 300
    assert children() == []


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel does not tell signals of a process")
def test_processes_that_draw_do_not_hear_ctrl_c():
    with Drawers(1):
        (one,) = children()
        lines = Path(f"/proc/{one.pid}/status").read_text().splitlines()
        blocked = next(int(line.split()[1], 16) for line in lines if line.startswith("SigBlk"))
        assert blocked >> (signal.SIGINT - 1) & 1
        assert one.ppid() == os.getpid()


def test_few_fields_are_drawn_in_this_process_alone_and_one_core_is_left_to_it(monkeypatch):
    monkeypatch.setattr("meso_core.report.draw.drawers.cores_at_hand", lambda: 8)
    assert [processes_for(n) for n in (0, 3, 4, 8)] == [0, 0, 2, 2]
    monkeypatch.setattr("meso_core.report.draw.drawers.cores_at_hand", lambda: 2)
    assert processes_for(8) == 1
    monkeypatch.setattr("meso_core.report.draw.drawers.cores_at_hand", lambda: 1)
    assert processes_for(8) == 0
