"""The picture of a session's frame clock.

What belongs here: drawing. What does not: numbers that a check needs (``checks``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .checks import BoutTiming
from .frames import FrameTimes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Points of a drawn line; more make the picture larger, not clearer.
_MAX_POINTS = 600
_BOUT, _NO_FOLDER, _PULSES, _SURPLUS = "#9ecae1", "#d9d9d9", "#333333", "#d62728"


def frame_interval_figure(frame_times: FrameTimes, title: str = "") -> Figure:
    """Draw pulses over time with the bouts shaded, and the histogram of intervals between pulses.

    The line must be straight within a bout (blue; grey: no folder). A peak of intervals that is one or two DAQ samples
    wide is right; counts at twice the period are lost pulses.

    Parameters
    ----------
    frame_times
        Frame times of a session.
    title
        Title, as the session's name.

    Returns
    -------
    matplotlib.figure.Figure
        Made without pyplot, so it needs no closing.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    counted, intervals = figure.subplots(1, 2, width_ratios=(2, 1))
    if title:
        figure.suptitle(title, fontsize=10)
    _draw_pulses(counted, frame_times)
    _draw_intervals(intervals, frame_times)
    for axes in (counted, intervals):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure


def _draw_pulses(axes: Axes, frame_times: FrameTimes) -> None:
    pulses = frame_times.pulses
    with_folder = {bout.start for bout in frame_times.bouts}
    for start, end in frame_times.found.edges:
        axes.axvspan(start / 60, end / 60, color=_BOUT if start in with_folder else _NO_FOLDER, lw=0)
    shown = np.unique(np.linspace(0, pulses.size - 1, min(pulses.size, _MAX_POINTS)).astype(int))
    axes.plot(pulses[shown] / 60, shown + 1, ".-", color=_PULSES, lw=1, ms=2)
    for bout in frame_times.bouts:
        surplus = _pulses_of(frame_times, bout)[bout.n_frames :]
        axes.plot(surplus / 60, np.searchsorted(pulses, surplus) + 1, "o", color=_SURPLUS, ms=4, mfc="none")
        text = f"{bout.n_frames} frames\n{bout.n_pulses} pulses"
        colour = _SURPLUS if bout.n_surplus else _PULSES
        place = ((bout.start + bout.end) / 120, 0.02)
        axes.annotate(text, place, xycoords=("data", "axes fraction"), ha="center", fontsize=7, color=colour)
    axes.set_xlabel("time on the DAQ's clock (min)", fontsize=9)
    axes.set_ylabel("frame pulses counted", fontsize=9)


def _draw_intervals(axes: Axes, frame_times: FrameTimes) -> None:
    parts = [np.diff(_pulses_of(frame_times, bout)) for bout in frame_times.bouts]
    intervals = np.concatenate([np.empty(0), *parts]) * 1e3
    axes.set_xlabel("interval between pulses (ms)", fontsize=9)
    axes.set_ylabel("count", fontsize=9)
    if not intervals.size:
        return
    period = float(np.median(intervals))
    low, high = min(float(intervals.min()), 0.9 * period), max(float(intervals.max()), 1.1 * period)
    axes.hist(intervals, bins=80, range=(low, high), color=_PULSES, log=True)
    axes.set_ylim(bottom=0.7)
    axes.axvline(period, color=_BOUT, lw=3, alpha=0.6, zorder=0)
    regular = float(intervals[intervals < 1.5 * period].mean())  # the median is a whole number of DAQ samples
    axes.set_title(f"mean {regular:.3f} ms ({1e3 / regular:.3f} Hz)", fontsize=8)


def _pulses_of(frame_times: FrameTimes, bout: BoutTiming) -> NDArray[np.float64]:
    first, last = np.searchsorted(frame_times.pulses, (bout.start, bout.end))
    return frame_times.pulses[first : last + 1]
