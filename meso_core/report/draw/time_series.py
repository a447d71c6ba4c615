"""Plots over the time of a session.

What belongs here: motion, traces, rasters. What does not: measuring.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..measure.axial import AxialDrift
from ..measure.clock import FovClock
from ..measure.flow import ResidualFlow
from ..measure.motion import FovMotion
from ..measure.packing import bin_edges, least_and_largest
from ..measure.photons import FovPhotons
from .svg import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, RED, SERIES, plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Bins of time of a line: more make the page larger, not clearer.
_BINS = 500


def motion_plot(motion: FovMotion, clock: FovClock, name: str, um_per_px: float) -> str:
    """Plot shifts, non-rigid motion and likeness to the reference over time."""

    def draw(figure: Figure) -> None:
        rows = figure.subplots(3, 1, sharex=True, height_ratios=(2, 1.2, 1.2))
        t, unit = _time(clock)
        for values, label, color in ((motion.y, "down", BLUE), (motion.x, "right", ORANGE)):
            _line(rows[0], t, values * um_per_px, clock, color=color, label=label)
        rows[0].set_ylabel("rigid shift (µm)")
        rows[0].legend(loc="lower right", ncols=2, bbox_to_anchor=(1, 1), borderaxespad=0.1)  # lines go up to the top
        if motion.nonrigid is not None:
            _line(rows[1], t, motion.nonrigid * um_per_px, clock, color=PURPLE)
        rows[1].set_ylabel("largest\nnon-rigid (µm)")
        rows[1].set_ylim(bottom=0)
        _line(rows[2], t, motion.correlation, clock, color=GREEN)
        rows[2].set_ylabel("phase\ncorrelation")
        for axes in rows:
            _shade(axes, t, motion.is_bad)
            _bouts(axes, clock)
            axes.margins(x=0)
        rows[2].set_xlabel(f"time ({unit})")

    alt = (
        f"Shifts of {name} over time: range {motion.range_px * um_per_px:.1f} µm, {int(motion.is_bad.sum())} bad of "
        f"{motion.n_frames} frames"
    )
    return plot(9.6, 4.1, draw, f"motion-{name}", alt, (0.85, 0.1, 0.48, 0.28))


def best_plot(
    best_dff: NDArray[np.float32], edges: NDArray[np.intp], numbers: NDArray[np.intp], clock: FovClock, name: str
) -> str:
    """Plot dF/F of some cells, one above the other, least and largest value of each bin."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        t, unit = _time(clock)
        middle = _middles(t, edges)
        step = float(np.percentile(best_dff[..., 1], 99.5)) * 0.8 if best_dff.size else 1.0
        step = step if step > 0 else 1.0
        for k, values in enumerate(best_dff):
            low, high = (values[:, i] - k * step for i in (0, 1))
            _band(axes, middle, (low, high), _new_bouts(edges, clock), color=BLUE if k % 2 == 0 else INK, lw=0.4)
        axes.set_yticks([-k * step for k in range(len(numbers))], [f"ROI {number}" for number in numbers])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        top = axes.get_ylim()[1]
        bar = _round_length(step)
        axes.plot(
            [1.012, 1.012], [top - bar, top], color=INK, lw=1.6, transform=axes.get_yaxis_transform(), clip_on=False
        )
        axes.text(1.02, top - bar / 2, f"{bar:g} dF/F", rotation=90, va="center", transform=axes.get_yaxis_transform())
        _bouts(axes, clock)
        axes.margins(x=0)
        axes.set_xlabel(f"time ({unit})")

    alt, height = f"dF/F of {len(numbers)} cells of {name}", 0.7 + 0.36 * max(len(numbers), 1)
    return plot(9.6, height, draw, f"best-{name}", alt, (0.85, 0.45, 0.48, 0.08))


def raster_plot(
    raster: NDArray[np.float32], population: NDArray[np.float32], edges: NDArray[np.intp], clock: FovClock, name: str
) -> str:
    """Plot the activity of all cells as an image, and their mean."""

    def draw(figure: Figure) -> None:
        image, mean = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        t, unit = _time(clock)
        middle = _middles(t, edges)
        n = len(raster)
        image.imshow(
            _over_time(_fewer_rows(raster, 300), t, edges), cmap="gray_r", vmin=-0.3, vmax=4, aspect="auto",
            interpolation="nearest", extent=(t[0], t[-1], n + 0.5, 0.5),
        )  # fmt: skip
        image.yaxis.get_major_locator().set_params(integer=True)
        image.set_ylabel("cell, in order")
        for part in np.split(np.arange(len(middle)), _new_bouts(edges, clock)):
            mean.plot(middle[part], population[part], color=BLUE, lw=0.8)
        mean.set_ylabel("mean\ndF/F")
        mean.set_xlabel(f"time ({unit})")
        mean.margins(x=0)
        for axes in (image, mean):
            _bouts(axes, clock)

    alt = f"Activity of {len(raster)} cells of {name} over time"
    return plot(9.6, 3.6, draw, f"raster-{name}", alt, (0.85, 0.1, 0.48, 0.08))


def two_clocks_plot(difference_ms: NDArray[np.float64], clock: FovClock, period_ms: float) -> str:
    """Plot the DAQ's clock less the microscope's over the session, and the time of a frame to both sides."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        t, unit = _time(clock)
        for level in (-period_ms, period_ms):
            axes.axhline(level, color=ORANGE, lw=1, ls=(0, (4, 3)))
        axes.text(t[-1], period_ms, "a frame", ha="right", va="bottom", fontsize=8)
        _line(axes, t, difference_ms, clock, color=BLUE)
        _bouts(axes, clock)
        axes.margins(x=0, y=0.15)
        axes.set_xlabel(f"time ({unit})")
        axes.set_ylabel("DAQ − microscope (ms)")

    most = float(np.abs(difference_ms).max())
    return plot(9.6, 2.2, draw, "two-clocks", f"Time by the DAQ less that by the microscope: at most {most:.2f} ms")


def flow_plot(fovs: Sequence[tuple[str, ResidualFlow, FovClock, float]], threshold_px: float) -> str:
    """Plot the residual flow of all fields over time, each in its own µm per px, and the threshold of the first."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for k, (name, flow, clock, um) in enumerate(fovs):
            t, unit = _time(clock)
            axes.plot(t[flow.frames], flow.px * um, ".-", color=SERIES[k % len(SERIES)], ms=3, lw=0.8, label=name[4:])
            axes.set_xlabel(f"time ({unit})")
        limit = threshold_px * fovs[0][3]
        axes.axhline(limit, color=ORANGE, lw=1, ls=(0, (4, 3)))
        axes.text(0.005, limit, "threshold", ha="left", va="bottom", fontsize=8, transform=axes.get_yaxis_transform())
        axes.set_ylim(0, 1.4 * max(limit, *(float(flow.px.max()) * um for _, flow, _, um in fovs)))
        axes.set_ylabel("residual flow (µm)")
        axes.legend(title="field", ncols=2, loc="upper right")

    told = ", ".join(f"{name} {flow.usual_px * um:.2f} µm" for name, flow, _, um in fovs)
    return plot(9.6, 2.6, draw, "flow", f"Residual flow over time, median: {told}")


def _time(clock: FovClock) -> tuple[NDArray[np.float64], str]:
    long = clock.seconds.size and clock.seconds[-1] > 300
    return (clock.seconds / 60, "min") if long else (clock.seconds, "s")


def _middles(t: NDArray[np.float64], edges: NDArray[np.intp]) -> NDArray[np.float64]:
    """Time in the middle of each bin of frames."""
    last = np.append(edges[1:], len(t)) - 1
    return np.asarray((t[edges] + t[last]) / 2)


def _line(axes: Axes, t: NDArray[np.float64], values: NDArray[np.float64], clock: FovClock, **style: str) -> None:
    """Draw a line; a long one by the least and the largest value of each bin, so that no jump is lost."""
    edges = bin_edges(len(t), _BINS, clock.edges)
    if len(t) <= 2 * _BINS:
        edges = np.arange(len(t))
    bins = least_and_largest(values[np.newaxis].astype(np.float32), edges)[0]
    _band(axes, _middles(t, edges), (bins[:, 0], bins[:, 1]), _new_bouts(edges, clock), lw=0.8, **style)


def _band(
    axes: Axes,
    t: NDArray[np.float64],
    values: tuple[NDArray[Any], NDArray[Any]],
    breaks: NDArray[np.intp],
    label: str | None = None,
    **style: Any,  # noqa: ANN401  of the artist
) -> None:
    """Fill between least and largest values, bout by bout; ``breaks`` are the first bins of bouts but the first."""
    low, high = values
    for k, part in enumerate(np.split(np.arange(len(t)), breaks)):
        axes.fill_between(t[part], low[part], high[part], alpha=0.9, label=None if k else label, **style)


def _new_bouts(edges: NDArray[np.intp], clock: FovClock) -> NDArray[np.intp]:
    """Numbers of the bins with which bouts begin, but for the first."""
    return np.flatnonzero(np.isin(edges, clock.edges[1:-1]))


def _over_time(image: NDArray[np.float32], t: NDArray[np.float64], edges: NDArray[np.intp]) -> NDArray[np.float32]:
    """Give the columns of an image equal times; columns in the pause between bouts are NaN."""
    at = np.linspace(t[0], t[-1], image.shape[1])
    frame = np.clip(np.searchsorted(t, at, side="right") - 1, 0, len(t) - 1)
    shown = image[:, np.clip(np.searchsorted(edges, frame, side="right") - 1, 0, len(edges) - 1)].copy()
    usual = float(np.median(np.diff(t))) if len(t) > 1 else 0.0
    shown[:, at - t[frame] > 2 * usual] = np.nan
    return shown


def _shade(axes: Axes, t: NDArray[np.float64], is_bad: NDArray[np.bool_]) -> None:
    """Mark bad frames along the lower edge, in at most so many pieces as there are bins."""
    edges = bin_edges(len(is_bad), _BINS)
    bad = np.logical_or.reduceat(is_bad, edges)
    first = np.flatnonzero(np.diff(np.concatenate([[0], bad.astype(np.int8), [0]])))
    stops = np.append(t[edges], t[-1])
    spans = [(stops[a], stops[b] - stops[a]) for a, b in first.reshape(-1, 2)]
    axes.broken_barh(spans, (0, 1), color=RED, alpha=0.25, lw=0, transform=axes.get_xaxis_transform())


def _bouts(axes: Axes, clock: FovClock) -> None:
    scale = 60 if clock.seconds.size and clock.seconds[-1] > 300 else 1
    for start in clock.starts_s:
        axes.axvline(start / scale, color=FAINT, lw=0.9, ls=(0, (4, 3)))


def _fewer_rows(image: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """Average neighbouring rows where there are more than can be seen."""
    if len(image) <= most:
        return image
    edges = bin_edges(len(image), most)
    counts = np.diff(np.append(edges, len(image)))[:, None]
    return np.asarray(np.add.reduceat(image, edges, axis=0) / counts * np.sqrt(counts))


def _round_length(length: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is at most ``length``."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length * (1 + 1e-9)))


def light_plot(fovs: Sequence[tuple[str, FovPhotons, FovClock]]) -> str:
    """Plot the light of sampled frames over time, relative to the first third."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for k, (name, photons, clock) in enumerate(fovs):
            t, unit = _time(clock)
            zero = photons.offset if np.isfinite(photons.offset) else 0.0
            light = photons.light - zero
            first = float(np.median(light[: max(len(light) // 3, 1)]))
            color = SERIES[k % len(SERIES)]
            axes.plot(t[photons.frames], 100 * light / (first or 1.0), ".-", color=color, ms=3, lw=0.8, label=name[4:])
            axes.set_xlabel(f"time ({unit})")
        axes.set_ylabel("light (%)")
        axes.legend(title="field", ncols=2)

    told = ", ".join(f"{name} {100 * photons.change:+.0f} %" for name, photons, _ in fovs)
    return plot(4.6, 3.0, draw, "light", f"Light over time: {told}")


def depth_plot(fovs: Sequence[tuple[str, AxialDrift, FovClock]], limit_um: float | None) -> str:
    """Plot the depth of fields in the reference stack over time; dashed about their middle, how far apart may be."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for k, (name, found, clock) in enumerate(fovs):
            t, unit = _time(clock)
            axes.plot(t[found.frames], found.um, ".-", color=SERIES[k % len(SERIES)], ms=4, lw=1, label=name[4:])
            axes.set_xlabel(f"time ({unit})")
        if limit_um is not None:
            known = np.concatenate([found.um[np.isfinite(found.um)] for _, found, _ in fovs])
            middle = float(known.min() + known.max()) / 2 if known.size else 0.0
            for um in (middle - limit_um / 2, middle + limit_um / 2):
                axes.axhline(um, color=FAINT, lw=0.8, ls="--")
        axes.set_ylabel("depth below the field's own (µm)")
        axes.invert_yaxis()
        axes.legend(title="field", ncols=2)

    told = ", ".join(f"{name} {found.range_um:.1f} µm apart" for name, found, _ in fovs)
    return plot(4.6, 3.0, draw, "depth", f"Depth in the reference stack over time: {told}")
