"""Pictures of where FOVs, pixels and ROIs lie, each with a line on how to read it.

What belongs here: drawing. What does not: computing what is drawn. matplotlib is imported by the functions; the same
input gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...pictures import Picture, full_png, inline_picture, new_figure, scale_bar
from ..atlas.grid import AtlasGrid, atlas_grid
from ..project.projection import Projection
from ..provenance import Provenance
from ..records import FovLocation, SessionLocations
from ..surface.dorsal import DorsalMap, dorsal_map
from .areas import AreaTable, borders

if TYPE_CHECKING:
    from iblatlas.atlas import BrainAtlas
    from matplotlib.axes import Axes

#: Colour of FOV outlines by provenance.
PROVENANCE_COLORS = {
    Provenance.ESTIMATE: "#d95f02",
    Provenance.FUNCTIONAL: "#7570b3",
    Provenance.LANDMARK: "#1b9e77",
    Provenance.HISTOLOGY: "#e7298a",
}
#: Colours of ROIs by area: the atlas' own are too alike within one FOV.
_ROI_COLORS = ("#1f78b4", "#e31a1c", "#33a02c", "#ff7f00", "#6a3d9a", "#a6cee3", "#fb9a99", "#b2df8a", "#fdbf6f")
_BORDER_COLOR = "#ffd92f"


@dataclass(frozen=True, slots=True)
class LocationPictures:
    """What an asset shows: one small picture for metadata, and full ones for files."""

    #: At most 8 kB in metadata.
    inline: Picture
    full: tuple[Picture, ...]


def draw_locations(found: Projection, atlas: BrainAtlas) -> LocationPictures:
    """Draw the FOVs of a session: on the brain from above, small and large, and in slices through each of them.

    Parameters
    ----------
    found
        Located FOVs.
    atlas
        The atlas in which they were located.
    """
    grid, table = atlas_grid(atlas, found.locations.frame.scale), AreaTable.of(atlas)
    dorsal = found.dorsal or dorsal_map(grid)
    image = _area_image(table, table.of_ids(dorsal.ids), darker=0.55)
    small = _dorsal_inline(found.locations, dorsal, image)
    large = _dorsal_full(found.locations, dorsal, image, table)
    return LocationPictures(small, (large, *(_slices(found, fov, grid, table) for fov in found.locations.fovs)))


def _dorsal_inline(locations: SessionLocations, dorsal: DorsalMap, image: NDArray[np.float64]) -> Picture:
    caption = "FOVs on the brain from above; + is bregma, × the window's centre. The full picture is among the figures."
    figure = new_figure(4.6, 4.8)
    _dorsal(figure.subplots(), locations, dorsal, image)
    return Picture("fovs_dorsal_inline", inline_picture(figure), caption)


def _dorsal_full(
    locations: SessionLocations, dorsal: DorsalMap, image: NDArray[np.float64], table: AreaTable
) -> Picture:
    caption = (
        f"The brain from above (front up, {locations.atlas.caption}). Colours and thin lines: areas; outlines: FOVs, "
        f"drawn where their corner pixels lie ({locations.provenance.name}); +: bregma; ×: centre of the window. "
        "Outlines that are bent or far from the × are a sign of wrong coordinates."
    )
    figure = new_figure(6.4, 7.4)
    axes = figure.subplots()
    _dorsal(axes, locations, dorsal, image)
    _area_names(axes, dorsal, table)
    axes.set_xlabel("ML (mm)")
    axes.set_ylabel("AP (mm)")
    return Picture("fovs_dorsal", full_png(figure), caption)


def draw_fov(
    fov: FovLocation,
    mean_image: NDArray[np.floating],
    ids: NDArray[np.integer],
    table: AreaTable,
    *,
    stack_pos: NDArray[np.integer],
    roi_ids: NDArray[np.integer],
    phantom: bool,
) -> Picture:
    """Draw the mean image of a FOV with area borders, and its ROIs coloured by area.

    Parameters
    ----------
    fov
        Its record.
    mean_image, ids
        (nY, nX).
    table
        Names of areas.
    stack_pos, roi_ids
        ``mpciROIs.stackPos`` (y, x, z) and Allen id of each ROI, (n_rois, 3) and (n_rois,).
    phantom
        True prints on the picture that it shows no anatomy.
    """
    areas = table.of_ids(ids)
    figure = new_figure(6.4, 5.6)
    axes = figure.subplots()
    low, high = np.nanpercentile(mean_image, (1, 99.5))
    axes.imshow(mean_image, cmap="gray", vmin=low, vmax=max(high, low + 1e-9), interpolation="nearest")
    _overlay(axes, borders(areas), _BORDER_COLOR)
    for area in np.unique(areas[areas > 0]):
        y, x = np.argwhere(areas == area).mean(axis=0)
        axes.text(x, y, table.acronyms[area], color=_BORDER_COLOR, ha="center", va="center", fontsize=9)
    if len(stack_pos):
        of_roi = table.of_ids(roi_ids)
        for k, area in enumerate(np.unique(of_roi)):
            y, x = stack_pos[of_roi == area, :2].T
            label = f"{table.acronyms[area] if area else 'outside'} ({len(y)})"
            color = _ROI_COLORS[k % len(_ROI_COLORS)]
            axes.scatter(x, y, s=14, color=color, edgecolors="k", linewidths=0.3, label=label)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8, frameon=False, title="ROIs")
    scale_bar(axes, 1e3 * fov.size_mm[1] / mean_image.shape[1], mean_image.shape)
    axes.set_title(f"{fov.name}  {_watermark(phantom)}", fontsize=10)
    axes.set_axis_off()
    caption = (
        "Mean image with the borders of brain areas (yellow) and the ROIs, coloured and counted by area. The borders "
        "are those of the atlas under this FOV: compare them with vessels and with maps of function."
    )
    return Picture(f"{fov.name}_areas", full_png(figure), caption)


def _slices(found: Projection, fov: FovLocation, grid: AtlasGrid, table: AreaTable) -> Picture:
    """Draw a coronal and a sagittal slice through a FOV's centre, with the imaged pixels of all FOVs."""
    center = fov.center_um if np.isfinite(fov.center_um).all() else found.locations.window.center_um
    figure = new_figure(10, 4)
    left, right = figure.subplots(1, 2)
    for axes, across, along, title in ((left, 1, 0, "coronal"), (right, 0, 1, "sagittal")):
        _slice(axes, grid, table, across, along, center)
        for number, at in found.mlapdv.items():
            near = at[np.abs(at[..., across] - center[across]) < 2 * grid.voxel_um[across]] / 1e3
            axes.plot(near[:, along], near[:, 2], ",", color="#d95f02" if number == fov.fov else "k", zorder=3)
        axes.plot(center[along] / 1e3, center[2] / 1e3, "o", mfc="none", mec="#d95f02", ms=9)
        place = f"{'AP' if across else 'ML'} {center[across] / 1e3:.2f} mm"
        axes.set_title(f"{fov.name}: {title}, {place}", fontsize=10)
        axes.set_xlabel(f"{'AP' if along else 'ML'} (mm)")
    left.set_ylabel("DV (mm)")
    figure.suptitle(_watermark(found.locations.phantom), fontsize=9)
    caption = (
        "Slices of the atlas through the FOV's centre (circle): imaged pixels of this FOV are orange, others black. "
        "They should run along the brain's surface, or at the imaging depth below it where that is known."
    )
    return Picture(f"{fov.name}_slices", full_png(figure), caption)


def _slice(axes: Axes, grid: AtlasGrid, table: AreaTable, across: int, along: int, center: NDArray[np.float64]) -> None:
    at = np.rint((center[across] - grid.origin_um[across]) / grid.voxel_um[across])
    k = int(np.clip(at, 0, grid.label.shape[across] - 1))
    section = grid.label[k] if across == 0 else grid.label[:, k]  # (along, DV); np.take would copy the whole volume
    image = _area_image(table, table.of_ids(grid.ids)[section], darker=0.6)
    low, high = grid.origin_um / 1e3, grid.end_um / 1e3
    _show(axes, image, (low[along], high[along], low[2], high[2]))
    middle = center[along] / 1e3
    axes.set_xlim(middle - 2.5, middle + 2.5)
    axes.set_ylim(center[2] / 1e3 - 2.0, min(high[2], center[2] / 1e3 + 1.0))


def _dorsal(axes: Axes, locations: SessionLocations, dorsal: DorsalMap, image: NDArray[np.float64]) -> None:
    left, right, back, front = (v / 1e3 for v in (*dorsal.ml_um[[0, -1]], *dorsal.ap_um[[0, -1]]))
    _show(axes, image, (left, right, back, front))
    color = PROVENANCE_COLORS[locations.provenance]
    for fov in locations.fovs:
        ring = fov.corners_um[[0, 1, 3, 2, 0], :2] / 1e3
        axes.plot(ring[:, 0], ring[:, 1], color=color, lw=1.6)
        middle = np.nanmean(ring[:4], axis=0) if np.isfinite(ring).any() else (0, 0)
        axes.annotate(str(fov.fov), middle, ha="center", va="center", fontsize=9, fontweight="bold")
    axes.plot(0, 0, "+", color="k", ms=10)
    axes.plot(*(locations.window.center_um[:2] / 1e3), "x", color="k", ms=7)
    axes.plot((-4.9, -3.9), (-7.2, -7.2), "k-", lw=3)
    axes.text(-4.4, -7.05, "1 mm", ha="center", fontsize=8)
    title = f"{locations.provenance.name}, {locations.atlas.caption}, frame {locations.frame.value}"
    axes.set_title(title, fontsize=9, color="red" if locations.phantom else "black")


def _area_names(axes: Axes, dorsal: DorsalMap, table: AreaTable) -> None:
    """Write acronyms of areas larger than 0.15 mm² at a point inside each, per hemisphere."""
    areas = table.of_ids(dorsal.ids)
    pixel_mm2 = float((dorsal.ml_um[1] - dorsal.ml_um[0]) * (dorsal.ap_um[1] - dorsal.ap_um[0])) / 1e6
    for side in (dorsal.ml_um < 0, dorsal.ml_um >= 0):
        half = np.where(side[:, np.newaxis], areas, 0)
        number, size = np.unique(half, return_counts=True)
        for area in number[(size * pixel_mm2 > 0.15) & (number > 1)]:
            at = np.argwhere(half == area)
            i, j = at[np.argmin(((at - at.mean(axis=0)) ** 2).sum(axis=1))]
            axes.text(dorsal.ml_um[i] / 1e3, dorsal.ap_um[j] / 1e3, table.acronyms[area], fontsize=6, ha="center",
                      va="center", color="#444444", clip_on=True)  # fmt: skip


def _watermark(phantom: bool) -> str:
    return "PHANTOM ATLAS (not anatomy)" if phantom else ""


def _area_image(table: AreaTable, areas: NDArray[np.intp], *, darker: float) -> NDArray[np.float64]:
    """Colour areas, with darker pixels at their borders."""
    image = table.paint(areas)
    image[borders(areas)] *= darker
    return image


def _show(axes: Axes, image: NDArray[np.float64], extent: tuple[float, float, float, float]) -> None:
    axes.imshow(image.transpose(1, 0, 2), origin="lower", extent=extent, interpolation="nearest", aspect="equal")


def _overlay(axes: Axes, mask: NDArray[np.bool_], color: str) -> None:
    from matplotlib.colors import to_rgba

    image = np.zeros((*mask.shape, 4))
    image[mask] = to_rgba(color)
    axes.imshow(image, interpolation="nearest")
