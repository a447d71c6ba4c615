"""The map: fields of view where they lie on the brain.

What belongs here: drawing it. What does not: finding places (``location``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...location import FovLocation, RegionMap, SessionLocations
from .images import contrast
from .svg import BLUE, FAINT, GREEN, GROUND, INK, ORANGE, PURPLE, RED, SKY, plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours of areas with ROIs, the one with most ROIs first; others are grey.
AREA_COLORS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, "#f0e442")
#: Space around the fields in the large view, as a share of their extent, and at least so many mm.
_MARGIN, _LEAST_MARGIN_MM = 0.12, 0.06
#: Ground of the name of a field, which may lie beside its picture.
_LABEL = {"facecolor": "#333333", "alpha": 0.8, "pad": 1, "lw": 0}
#: Name of an area, at least this share of the width from either side, so that none is cut off.
_FROM_EDGE = 0.06
#: Columns of a mean image in the map: it is small there.
_MOST_PX = 256


@dataclass(frozen=True, slots=True)
class PlacedFov:
    """A FOV on the map; None for what is not known."""

    location: FovLocation
    mean_image: NDArray[Any] | None
    #: (n, 2) ML and AP of its cells, mm, and the area of each.
    cells_mm: NDArray[np.float64]
    areas: NDArray[np.str_]

    @property
    def ring_mm(self) -> NDArray[np.float64]:
        """Corners in order around, closed, (5, 2), ML and AP, mm."""
        return np.asarray(self.location.corners_um[[0, 1, 3, 2, 0], :2]) / 1e3


def area_colors(areas: Sequence[NDArray[np.str_]]) -> dict[str, str]:
    """Give colours to areas, those with most ROIs first."""
    names, counts = np.unique(np.concatenate([np.zeros(0, "U1"), *areas]), return_counts=True)
    order = [str(names[i]) for i in np.argsort(-counts, kind="stable")]
    return {name: AREA_COLORS[k] if k < len(AREA_COLORS) else FAINT for k, name in enumerate(order)}


def map_plot(locations: SessionLocations, regions: RegionMap, fovs: Sequence[PlacedFov]) -> str:
    """Draw the brain from above with all fields, and beside it the fields alone, large, with their cells."""
    colors = area_colors([fov.areas for fov in fovs])

    def draw(figure: Figure) -> None:
        whole, near = figure.subplots(1, 2, width_ratios=(1, 1.55))
        _brain(whole, regions)
        for fov in fovs:
            whole.plot(*fov.ring_mm.T, color=RED, lw=1.1)
        whole.plot(0, 0, "+", color=INK, ms=8)
        whole.plot(*(locations.window.center_um[:2] / 1e3), "x", color=INK, ms=6)
        _near(near, regions, fovs, colors)
        for axes in (whole, near):
            axes.set_aspect("equal")
            axes.set_xlabel("ML (mm)")
        whole.set_ylabel("AP (mm)")

    names = ", ".join(colors)
    alt = f"The brain from above with {len(fovs)} fields of view; cells lie in {names or 'no known area'}"
    return plot(10, 4.6, draw, "map", alt)


def _brain(axes: Axes, regions: RegionMap) -> None:
    """Draw the borders of areas in grey on a tint."""
    ml, ap = regions.ml_um / 1e3, regions.ap_um / 1e3
    extent = (ml[0], ml[-1], ap[0], ap[-1])
    image = np.zeros((*regions.areas.T.shape, 4))
    image[regions.areas.T > 0] = (0.5, 0.55, 0.6, 0.13)
    image[regions.border.T] = (0.5, 0.53, 0.57, 0.8)
    axes.imshow(image, origin="lower", extent=extent, interpolation="antialiased")


def _near(axes: Axes, regions: RegionMap, fovs: Sequence[PlacedFov], colors: dict[str, str]) -> None:
    known = [fov for fov in fovs if np.isfinite(fov.ring_mm).all()]
    for fov in known:
        if fov.mean_image is not None:
            _image(axes, fov)
        axes.plot(*fov.ring_mm.T, color=RED, lw=1)
    if known:
        corners = np.concatenate([fov.ring_mm for fov in known])
        margin = max(_MARGIN * float(np.ptp(corners, axis=0).max()), _LEAST_MARGIN_MM)
        low, high = corners.min(axis=0) - margin, corners.max(axis=0) + margin
        _borders(axes, regions, low, high)
        axes.set_xlim(low[0], high[0])
        axes.set_ylim(low[1], high[1])
    for name, color in colors.items():
        at = np.concatenate([fov.cells_mm[fov.areas == name] for fov in fovs])
        axes.plot(*at.T, "o", color=color, ms=3.2, mec=GROUND, mew=0.2, label=f"{name} {len(at)}")
    for fov in known:
        left, top = fov.ring_mm[:, 0].min(), fov.ring_mm[:, 1].max()
        axes.annotate(
            fov.location.name[4:], (left, top), (3, -3), textcoords="offset points",
            fontsize=8, color="white", fontweight="bold", va="top", bbox=_LABEL,
        )  # fmt: skip
    if colors:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="cells", handletextpad=0.2)


def _borders(axes: Axes, regions: RegionMap, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
    """Draw borders of areas as smooth lines, and their names, in a part of the map (mm)."""
    from scipy.ndimage import gaussian_filter

    ml, ap = regions.ml_um / 1e3, regions.ap_um / 1e3
    rows, columns = (
        (at > least - 0.2) & (at < most + 0.2) for at, least, most in ((ml, low[0], high[0]), (ap, low[1], high[1]))
    )
    part = regions.areas[np.ix_(rows, columns)]
    ml, ap = ml[rows], ap[columns]
    inside = np.ix_((ml >= low[0]) & (ml <= high[0]), (ap >= low[1]) & (ap <= high[1]))
    for area in np.unique(part[part > 0]):
        mask = gaussian_filter((part == area).astype(float), 1.5, mode="nearest")
        if mask.min() < 0.5 < mask.max():
            axes.contour(ml, ap, mask.T, [0.5], colors=[ORANGE], linewidths=0.7)
        own = np.argwhere(part[inside] == area)
        if len(own) > 0.03 * part[inside].size:
            i, j = own[((own - own.mean(axis=0)) ** 2).sum(axis=1).argmin()]
            edge = _FROM_EDGE * (high[0] - low[0])
            at = np.clip(ml[inside[0].ravel()][i], low[0] + edge, high[0] - edge), ap[inside[1].ravel()][j]
            ground = {"facecolor": GROUND, "alpha": 0.75, "pad": 1, "lw": 0}
            axes.text(*at, regions.table.acronyms[area], fontsize=8, ha="center", bbox=ground)


def _image(axes: Axes, fov: PlacedFov) -> None:
    """Lay a mean image between the corners of its FOV: an affine map by three of them."""
    from matplotlib.transforms import Affine2D

    assert fov.mean_image is not None
    every = max(fov.mean_image.shape[1] // _MOST_PX, 1)
    levels = contrast(fov.mean_image[::every, ::every])
    ny, nx = levels.shape
    origin, right, down = fov.location.corners_um[[0, 1, 2], :2] / 1e3
    (a, b), (c, d) = (right - origin) / max(nx - 1, 1), (down - origin) / max(ny - 1, 1)
    affine = Affine2D.from_values(a, b, c, d, *origin)
    shown = axes.imshow(levels, cmap="gray", vmin=0, vmax=255, origin="upper", interpolation="nearest", aspect="auto")
    shown.set_transform(affine + axes.transData)
