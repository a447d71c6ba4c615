"""Group location: where each pixel and each cell lies in the brain."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..io_managers import FovDatasets, Product, SessionFiles
from ..metadata import located_metadata, roi_locations_metadata, small_picture
from ..resources import OpenSession
from .session_asset import platform_of, progress_of, session_asset


@session_asset("mean_image_mlapdv", io_manager="alf", inputs=("imaging_metadata",))
def mean_image_mlapdv(session: OpenSession, context: Any, imaging_metadata: SessionFiles) -> Product:
    """Place every pixel of every field of view in the brain."""
    from meso_core.location import load_atlas, locate_fovs
    from meso_core.location.pictures import draw_dorsal, draw_inline
    from meso_core.session import fov_name

    settings = platform_of(context).settings.location()
    atlas = load_atlas(settings)
    found = locate_fovs(session.metadata(), atlas, settings=settings, progress=progress_of(context))
    inline = draw_inline(found.locations, atlas)
    mlapdv, ids = (found.locations.provenance.attribute(name) for name in ("mlapdv", "brainLocationIds_ccf_2017"))
    datasets = {
        fov_name(fov): {
            f"mpciMeanImage.{mlapdv}": found.mlapdv[fov],
            f"mpciMeanImage.{ids}": found.brain_location_ids[fov],
        }
        for fov in found.mlapdv
    }
    return Product(
        datasets,
        settings={"atlas": settings.atlas, "atlas_resolution_um": settings.resolution_um},
        texts={"alf/fovs.locations.json": found.locations.to_json()},
        figures={"fovs_in_brain": draw_dorsal(found.locations, atlas).png},
        metadata={**located_metadata(found.locations), **small_picture(inline.png, inline.caption)},
    )


@session_asset("roi_brain_locations", io_manager="alf", inputs=("rois", "mean_image_mlapdv"))
def roi_brain_locations(
    session: OpenSession, context: Any, rois: FovDatasets, mean_image_mlapdv: FovDatasets
) -> Product:
    """Look up where each cell lies."""
    from meso_core.location import Provenance, roi_mlapdv

    suffix = Provenance.ESTIMATE.attribute
    mlapdv, ids = suffix("mlapdv"), suffix("brainLocationIds_ccf_2017")
    datasets = {}
    for fov, cells in rois.items():
        image = mean_image_mlapdv[fov]
        pixels, regions = (np.asarray(image[f"mpciMeanImage.{name}"]) for name in (mlapdv, ids))
        place, region = roi_mlapdv(np.asarray(cells["mpciROIs.stackPos"]), pixels, regions, fov)
        datasets[fov] = {f"mpciROIs.{mlapdv}": place, f"mpciROIs.{ids}": region}
    return Product(datasets, metadata=roi_locations_metadata(datasets))
