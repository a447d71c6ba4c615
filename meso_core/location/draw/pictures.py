"""Pictures of where FOVs, pixels and cells lie, each with a line on how to read it.

What belongs here: drawing. What does not: computing what is drawn. matplotlib is imported by the functions; the same
input gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...pictures import inline_png
from ..atlas.dorsal import DorsalMap, dorsal_map
from ..atlas.loading import AtlasGrid, atlas_grid, describe_atlas
from ..project.projection import Projection
from ..provenance import Provenance
from ..records import FovLocation, SessionLocations

#: Colour of FOV outlines by provenance.
PROVENANCE_COLORS = {
    Provenance.ESTIMATE: "#d95f02",
    Provenance.FUNCTIONAL: "#7570b3",
    Provenance.LANDMARK: "#1b9e77",
    Provenance.HISTOLOGY: "#e7298a",
}
#: Colours of ROIs by area: the atlas' own are too alike within one FOV.
_ROI_COLORS = ("#1f78b4", "#e31a1c", "#33a02c", "#ff7f00", "#6a3d9a", "#a6cee3", "#fb9a99", "#b2df8a", "#fdbf6f")


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG with its caption."""

    name: str
    png: bytes
    #: How to read it.
    caption: str


@dataclass(frozen=True, slots=True)
class AreaTable:
    """Areas (without layers) by region index of an atlas: number, acronym, colour."""

    #: Area number by Allen id of a region.
    by_id: dict[int, int]
    acronyms: tuple[str, ...]
    #: Colours 0 to 1, (n, 3).
    colors: NDArray[np.float64]

    @classmethod
    def of(cls, atlas: Any) -> AreaTable:
        """Group an atlas' regions: layers of cortex to their area (iblatlas' Beryl mapping, where there is one)."""
        regions = atlas.regions
        index = np.arange(len(regions.id))
        area = np.asarray(regions.mappings.get("Beryl", index)) if hasattr(regions, "mappings") else index
        area = np.where(np.abs(regions.id[area]) == 997, index, area)  # what Beryl leaves out keeps its own name
        by_id = {int(i): int(a) for i, a in zip(regions.id, area, strict=True) if i >= 0}
        by_id[0] = 0
        return cls(by_id, tuple(str(a) for a in regions.acronym), np.asarray(regions.rgb, dtype=float) / 255)

    def of_ids(self, ids: NDArray[np.integer]) -> NDArray[np.intp]:
        """Area numbers of an array of Allen ids."""
        unique, inverse = np.unique(ids, return_inverse=True)
        return np.array([self.by_id.get(int(i), 0) for i in unique], dtype=np.intp)[inverse].reshape(ids.shape)

    def paint(self, areas: NDArray[np.intp], strength: float = 0.45) -> NDArray[np.float64]:
        """Colour image (…, 3) of area numbers; void is white."""
        image = 1 - strength * (1 - self.colors[areas])
        image[areas == 0] = 1.0
        return image


def borders(areas: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour belongs to another area."""
    edge = np.zeros(areas.shape, dtype=bool)
    edge[:-1] |= areas[:-1] != areas[1:]
    edge[:, :-1] |= areas[:, :-1] != areas[:, 1:]
    return edge


def draw_dorsal(locations: SessionLocations, atlas: Any, dorsal: DorsalMap | None = None) -> Picture:
    """Draw FOV outlines on the dorsal map, with area borders and names, bregma and a scale bar."""
    caption = (
        f"The brain from above (front up, {locations.atlas.caption}). Colours and thin lines: areas; outlines: FOVs, "
        f"drawn where their corner pixels lie ({locations.provenance.name}); +: bregma; ×: centre of the window. "
        "Outlines that are bent or far from the × point to wrong coordinates."
    )
    figure, axes = _canvas((6.4, 7.4))
    _dorsal(axes, locations, atlas, dorsal or _dorsal_of(atlas, locations), names=True)
    axes.set_xlabel("ML (mm)")
    axes.set_ylabel("AP (mm)")
    return Picture("fovs_dorsal", _png(figure, 150), caption)


def draw_inline(locations: SessionLocations, atlas: Any, dorsal: DorsalMap | None = None) -> Picture:
    """Draw a small dorsal map for metadata."""
    dorsal = dorsal or _dorsal_of(atlas, locations)
    caption = "FOVs on the dorsal map; + is bregma, × the window's centre. The full picture is among the figures."
    figure, axes = _canvas((4.6, 4.8))
    _dorsal(axes, locations, atlas, dorsal, names=False)
    return Picture("fovs_dorsal_inline", inline_png(figure), caption)


def draw_fov(
    fov: FovLocation,
    mean_image: NDArray[Any],
    ids: NDArray[np.integer],
    atlas: Any,
    *,
    stack_pos: ArrayLike | None = None,
    roi_ids: ArrayLike | None = None,
) -> Picture:
    """Draw the mean image of a FOV with area borders, and its ROIs coloured by area.

    Parameters
    ----------
    fov
        Its record.
    mean_image, ids
        (nY, nX).
    atlas
        Names and colours of areas.
    stack_pos, roi_ids
        ``mpciROIs.stackPos`` (y, x, z) and area of each ROI, or nothing.
    """
    table = AreaTable.of(atlas)
    areas = table.of_ids(ids)
    figure, axes = _canvas((6.4, 5.6))
    low, high = np.nanpercentile(mean_image, (1, 99.5))
    axes.imshow(mean_image, cmap="gray", vmin=low, vmax=max(high, low + 1e-9), interpolation="nearest")
    _overlay(axes, borders(areas), "#ffd92f")
    for area in np.unique(areas[areas > 0]):
        y, x = np.argwhere(areas == area).mean(axis=0)
        axes.text(x, y, table.acronyms[area], color="#ffd92f", ha="center", va="center", fontsize=9)
    if stack_pos is not None and roi_ids is not None and len(np.asarray(stack_pos)):
        yx, of_roi = np.asarray(stack_pos)[:, :2], table.of_ids(np.asarray(roi_ids))
        for k, area in enumerate(np.unique(of_roi)):
            mine = of_roi == area
            name = table.acronyms[area] if area else "outside"
            axes.scatter(
                yx[mine, 1], yx[mine, 0], s=14, color=_ROI_COLORS[k % len(_ROI_COLORS)], edgecolors="k",
                linewidths=0.3, label=f"{name} ({int(mine.sum())})",
            )  # fmt: skip
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8, frameon=False, title="ROIs")
    _scale_bar_px(axes, fov, mean_image.shape)
    axes.set_title(f"{fov.name}  {_watermark(describe_atlas(atlas).phantom)}", fontsize=10)
    axes.set_axis_off()
    caption = (
        "Mean image with the borders of brain areas (yellow) and the ROIs' positions, coloured and counted by area. "
        "Borders are those of the atlas under this FOV: compare them with vessels and with maps of function."
    )
    return Picture(f"{fov.name}_areas", _png(figure, 130), caption)


def draw_slices(found: Projection, atlas: Any, fov: int) -> Picture:
    """Draw a coronal and a sagittal slice through a FOV's centre, with the imaged surface of all FOVs."""
    record = next(f for f in found.locations.fovs if f.fov == fov)
    grid = atlas_grid(atlas, found.locations.frame.scale)
    center = record.center_um if np.isfinite(record.center_um).all() else found.locations.window.center_um
    figure, (left, right) = _canvas((10, 4), columns=2)
    table = AreaTable.of(atlas)
    for axes, across, along, title in ((left, 1, 0, "coronal"), (right, 0, 1, "sagittal")):
        _slice(axes, grid, table, across, along, center)
        for number, at in found.mlapdv.items():
            near = np.abs(at[..., across] - center[across]) < 2 * grid.voxel_um[across]
            axes.plot(
                at[near][:, along] / 1e3, at[near][:, 2] / 1e3, ",", color="#d95f02" if number == fov else "k", zorder=3
            )
        axes.plot(center[along] / 1e3, center[2] / 1e3, "o", mfc="none", mec="#d95f02", ms=9)
        place = f"{'AP' if across else 'ML'} {center[across] / 1e3:.2f} mm"
        axes.set_title(f"{record.name}: {title}, {place}", fontsize=10)
        axes.set_xlabel(f"{'AP' if along else 'ML'} (mm)")
    left.set_ylabel("DV (mm)")
    figure.suptitle(_watermark(found.locations.phantom), fontsize=9)
    caption = (
        "Slices of the atlas through the FOV's centre (circle): imaged pixels of this FOV are orange, others black. "
        "They should run along the brain's surface, or at the imaging depth below it where that is known."
    )
    return Picture(f"{record.name}_slices", _png(figure, 120), caption)


def _slice(axes: Any, grid: AtlasGrid, table: AreaTable, across: int, along: int, center: NDArray[np.float64]) -> None:
    k = int(np.clip(np.rint((center[across] - grid.origin_um[across]) / grid.voxel_um[across]), 0, None))
    k = min(k, grid.label.shape[across] - 1)
    section = np.take(grid.label, k, axis=across)  # (along, DV)
    areas = table.of_ids(grid.ids[section])
    image = table.paint(areas)
    image[borders(areas)] *= 0.6
    low, high = grid.origin_um / 1e3, grid.end_um / 1e3
    extent = (low[along], high[along], low[2], high[2])
    axes.imshow(image.transpose(1, 0, 2), origin="lower", extent=extent, interpolation="nearest", aspect="equal")
    middle = center[along] / 1e3
    axes.set_xlim(middle - 2.5, middle + 2.5)
    axes.set_ylim(center[2] / 1e3 - 2.0, min(high[2], center[2] / 1e3 + 1.0))


def _dorsal_of(atlas: Any, locations: SessionLocations) -> DorsalMap:
    return dorsal_map(atlas_grid(atlas, locations.frame.scale))


def _dorsal(axes: Any, locations: SessionLocations, atlas: Any, dorsal: DorsalMap, *, names: bool) -> None:
    table = AreaTable.of(atlas)
    areas = table.of_ids(dorsal.ids)
    image = table.paint(areas)
    image[borders(areas)] *= 0.55
    extent = tuple(v / 1e3 for v in (dorsal.ml_um[0], dorsal.ml_um[-1], dorsal.ap_um[0], dorsal.ap_um[-1]))
    axes.imshow(image.transpose(1, 0, 2), origin="lower", extent=extent, interpolation="nearest", aspect="equal")
    color = PROVENANCE_COLORS[locations.provenance]
    for fov in locations.fovs:
        ring = fov.corners_um[[0, 1, 3, 2, 0], :2] / 1e3
        axes.plot(ring[:, 0], ring[:, 1], color=color, lw=1.6)
        axes.annotate(str(fov.fov), np.nanmean(ring[:4], axis=0) if np.isfinite(ring).any() else (0, 0),
                      color="k", ha="center", va="center", fontsize=9, fontweight="bold")  # fmt: skip
    axes.plot(0, 0, "+", color="k", ms=10)
    axes.plot(*(locations.window.center_um[:2] / 1e3), "x", color="k", ms=7)
    axes.plot((-4.9, -3.9), (-7.2, -7.2), "k-", lw=3)
    axes.text(-4.4, -7.05, "1 mm", ha="center", fontsize=8)
    if names:
        _area_names(axes, areas, dorsal, table)
    title = f"{locations.provenance.name}, {locations.atlas.caption}, frame {locations.frame.value}"
    axes.set_title(title, fontsize=9, color="red" if locations.phantom else "black")


def _area_names(axes: Any, areas: NDArray[np.intp], dorsal: DorsalMap, table: AreaTable) -> None:
    """Write acronyms of areas larger than 0.15 mm² at a point inside each, per hemisphere."""
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


def _scale_bar_px(axes: Any, fov: FovLocation, shape: Sequence[int]) -> None:
    per_mm = shape[1] / fov.size_mm[1]
    axes.plot((shape[1] * 0.04, shape[1] * 0.04 + 0.1 * per_mm), (shape[0] * 0.96,) * 2, "w-", lw=3)
    axes.text(shape[1] * 0.04, shape[0] * 0.94, "100 µm", color="w", fontsize=8, va="bottom")


def _overlay(axes: Any, mask: NDArray[np.bool_], color: str) -> None:
    from matplotlib.colors import to_rgba

    image = np.zeros((*mask.shape, 4))
    image[mask] = to_rgba(color)
    axes.imshow(image, interpolation="nearest")


def _canvas(size: tuple[float, float], columns: int = 1) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns)
    return figure, axes


def _png(figure: Any, dpi: int) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
