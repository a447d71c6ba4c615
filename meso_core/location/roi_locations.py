"""Where the ROIs of a session lie: looked up in the located pixels, as datasets and pictures.

What belongs here: the way from datasets of all FOVs to datasets and pictures. What does not: the lookup in one FOV
(``project.rois``), and drawing (``draw``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..datasets import DatasetValue
from ..errors import LocationError
from ..pictures import Picture, inline_picture
from .draw.areas import AreaTable
from .draw.pictures import LocationPictures, draw_fov
from .project.rois import roi_mlapdv
from .records import SessionLocations

if TYPE_CHECKING:
    from iblatlas.atlas import BrainAtlas


@dataclass(frozen=True, slots=True)
class RoiLocations:
    """MLAPDV and area of every ROI of a session."""

    locations: SessionLocations
    #: By FOV number: (n_rois, 3) float64, µm from bregma; NaN where the pixel misses the brain.
    mlapdv: dict[int, NDArray[np.float64]]
    #: By FOV number: (n_rois,) int64 Allen ids; 0 where the pixel misses the brain.
    brain_location_ids: dict[int, NDArray[np.int64]]
    pictures: LocationPictures

    @property
    def datasets(self) -> dict[str, dict[str, NDArray[np.generic]]]:
        """ALF datasets ``mpciROIs.*`` by folder name of the FOV."""
        return self.locations.datasets("mpciROIs", self.mlapdv, self.brain_location_ids)


def locate_rois(
    locations: SessionLocations,
    rois: Mapping[str, Mapping[str, DatasetValue]],
    pixels: Mapping[str, Mapping[str, DatasetValue]],
    atlas: BrainAtlas,
    *,
    lacking: Collection[str] = (),
) -> RoiLocations:
    """Look up where each ROI of a session lies, and draw the ROIs of each FOV.

    Parameters
    ----------
    locations
        Where the FOVs lie.
    rois
        Datasets by folder name of the FOV: ``mpciROIs.stackPos`` (n_rois, 3), ``mpciMeanImage.images`` (nY, nX).
    pixels
        Datasets by folder name of the FOV: ``mpciMeanImage.mlapdv*`` (nY, nX, 3) and
        ``mpciMeanImage.brainLocationIds_ccf_2017*`` (nY, nX), of the provenance of ``locations``.
    atlas
        Gives the names of areas.
    lacking
        Folder names of the FOVs that have no ROIs because something failed for them; they are passed over.

    Raises
    ------
    LocationError
        If a FOV that is not ``lacking`` or a dataset is missing, an ROI lies outside the image, or maps of a FOV have
        different sizes.
    """
    places, regions, drawn = {}, {}, []
    table = AreaTable.of(atlas)
    names = locations.dataset_names("mpciMeanImage")
    for fov in (one for one in locations.fovs if one.name not in lacking):
        stack_pos = _array(rois, fov.name, "mpciROIs.stackPos", "Run rois again")
        mean = _array(rois, fov.name, "mpciMeanImage.images", "Run rois again")
        mlapdv, of_pixels = (_array(pixels, fov.name, n, "Run mean_image_mlapdv again") for n in names)
        places[fov.fov], regions[fov.fov] = roi_mlapdv(stack_pos, mlapdv, of_pixels, fov.name)
        drawn.append(
            draw_fov(
                fov, mean, of_pixels, table, stack_pos=stack_pos, roi_ids=regions[fov.fov], phantom=locations.phantom
            )
        )
    inline = Picture(f"{drawn[0].name}_inline", inline_picture(drawn[0].png), drawn[0].caption)
    return RoiLocations(locations, places, regions, LocationPictures(inline, tuple(drawn)))


def _array(fovs: Mapping[str, Mapping[str, DatasetValue]], fov: str, name: str, remedy: str) -> NDArray[Any]:
    datasets = fovs.get(fov, {})
    if name not in datasets:
        found = ", ".join(sorted(datasets)) or "no datasets"
        raise LocationError.at(fov, expected=name, found=found, remedy=remedy)
    return np.asarray(datasets[name])
