"""Plots of distributions and of one value per field.

What belongs here: histograms, bars, dots. What does not: measuring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..measure.clock import Intervals
from ..measure.photons import FovPhotons
from .svg import BLUE, FAINT, GREEN, ORANGE, RED, SERIES, plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def interval_plot(steps: Intervals) -> str:
    """Plot the histogram of intervals between frames, counts on a logarithmic axis."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        low = min(float(steps.ms.min()), 0.9 * steps.usual_ms)
        high = max(float(steps.ms.max()), 1.1 * steps.usual_ms)
        axes.axvline(steps.usual_ms, color=FAINT, lw=3, alpha=0.4)
        axes.hist(steps.ms, bins=60, range=(low, high), color=BLUE, log=True)
        axes.set_ylim(bottom=0.7)
        axes.set_xlabel("interval (ms)")
        axes.set_ylabel("count")

    alt = f"Histogram of intervals between frames, usually {steps.usual_ms:.2f} ms, at most {steps.longest_ms:.2f} ms"
    return plot(4.6, 2.5, draw, "intervals", alt)


def offsets_plot(offsets: Sequence[tuple[str, float]]) -> str:
    """Plot when each field begins in the volume, ms."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        at = np.arange(len(offsets))
        values = [value for _, value in offsets]
        axes.hlines(at, 0, values, color=FAINT, lw=1)
        axes.plot(values, at, "o", color=BLUE, ms=5)
        axes.set_yticks(at, [name for name, _ in offsets])
        axes.invert_yaxis()
        axes.set_xlabel("offset (ms)")

    told = ", ".join(f"{name} {value:.1f} ms" for name, value in offsets)
    return plot(4.6, max(2.5, 0.6 + 0.24 * len(offsets)), draw, "offsets", f"Offset of each field: {told}")


def components_plot(shifts_um: NDArray[np.float64], name: str, limit_um: float | None) -> str:
    """Plot the shift between the ends of each principal component, and from where on one asks for a look."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        colors = [RED if limit_um is not None and shift > limit_um else BLUE for shift in shifts_um]
        axes.bar(np.arange(1, len(shifts_um) + 1), shifts_um, color=colors, width=0.7)
        if limit_um is not None:
            axes.axhline(limit_um, color=ORANGE, lw=1, ls=(0, (4, 3)))
            axes.text(len(shifts_um) + 0.6, limit_um, "limit", ha="right", va="bottom", fontsize=8)
        axes.set_xlabel("principal component")
        axes.set_ylabel("shift (µm)")

    alt = f"{name}: shift between the ends of {len(shifts_um)} components, at most {shifts_um.max():.2f} µm"
    return plot(4.6, 2.2, draw, f"components-{name}", alt, (0.65, 0.1, 0.48, 0.12))


def counts_plot(counts: Mapping[str, int], name: str, label: str) -> str:
    """Plot counts as bars, one below the other."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        at = np.arange(len(counts))
        bars = axes.barh(at, list(counts.values()), color=BLUE, height=0.68)
        axes.bar_label(bars, padding=3, fontsize=8)
        axes.set_yticks(at, list(counts))
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlabel(label)

    told = ", ".join(f"{key} {count}" for key, count in counts.items())
    return plot(4.6, 0.75 + 0.22 * max(len(counts), 3), draw, name, f"{label}: {told}")


def histograms_plot(panels: Sequence[tuple[str, NDArray[np.float64], NDArray[np.float64]]]) -> str:
    """Plot histograms of cells (filled) and of other ROIs (line), each panel with its label and unit."""

    def draw(figure: Figure) -> None:
        n_columns = 3
        grid = figure.subplots(-(-len(panels) // n_columns), n_columns, squeeze=False).ravel()
        for axes, (label, cells, others) in zip(grid, panels, strict=False):
            low, high = np.percentile(np.concatenate([cells, others]), [0.5, 99.5])
            edges = np.linspace(low, high if high > low else low + 1, 31)
            axes.hist(cells, edges, color=GREEN, alpha=0.75, label="cells")
            axes.hist(others, edges, histtype="step", color=RED, lw=1.2, ls=(0, (3, 2)), label="other ROIs")
            axes.set_xlabel(label)
            axes.yaxis.get_major_locator().set_params(integer=True)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        grid[0].set_ylabel("ROIs")
        grid[0].legend()

    alt = "Histograms of " + ", ".join(label for label, _, _ in panels) + ", cells against other ROIs"
    return plot(9.6, 2.1 * -(-len(panels) // 3), draw, "histograms", alt)


def variance_plot(fovs: Sequence[tuple[str, FovPhotons]]) -> str:
    """Plot the variance of noise against the mean of groups of pixels, with the lines that were fitted."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for k, (name, photons) in enumerate(fovs):
            color = SERIES[k % len(SERIES)]
            axes.plot(photons.group_mean, photons.group_variance, "o", color=color, ms=3, label=name[4:])
            if np.isfinite(photons.gain):
                ends = photons.group_mean[[0, -1]]
                axes.plot(ends, photons.gain * (ends - photons.offset), color=color, lw=0.9)
        axes.set_xlabel("mean (counts)")
        axes.set_ylabel("variance (counts²)")
        axes.set_ylim(bottom=0)
        axes.legend(title="field", ncols=2)

    told = ", ".join(f"{name} {photons.gain:.3g} counts per photon" for name, photons in fovs)
    return plot(4.6, 3.0, draw, "variance", f"Variance against mean: {told}")
