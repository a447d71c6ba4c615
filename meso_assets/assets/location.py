"""Group location: where each pixel and each cell lies in the brain."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from meso_core.archive.delivered import delivered_view
from meso_core.session import RawFiles, SessionMetadata, check_left_out

from ..defs.catalogue import CATALOGUE
from ..io.metadata import figures_metadata, located_metadata, picture, roi_locations_metadata
from ..io.published import LOCATIONS_FILE, FovDatasets, LocatedFovs
from ..io.resources import Platform
from .session_asset import AssetRun, Product, Result, materialized, session_asset

if TYPE_CHECKING:
    from meso_core.location import LocationPictures

_PIXELS, _ROIS = CATALOGUE["mean_image_mlapdv"], CATALOGUE["roi_brain_locations"]


@session_asset(_PIXELS)
def mean_image_mlapdv(
    context: dg.AssetExecutionContext, platform: Platform, raw_reference: RawFiles, imaging_metadata: SessionMetadata
) -> Result:
    """Place every pixel of every field of view in the brain, by the best source that the session holds."""
    from meso_core.location import (
        check_locations,
        draw_locations,
        find_reference,
        load_atlas,
        locate_session,
        locations_to_json,
    )

    def compute(run: AssetRun) -> Product:
        settings, staging = run.settings.location(), run.stage()
        atlas = load_atlas(settings, progress=run.progress)
        with delivered_view(raw_reference) as rig:
            reference = find_reference([rig / bout.name for bout in imaging_metadata.bouts])
            found = locate_session(imaging_metadata.imaging, atlas, reference, settings=settings)
        found = found.without(check_left_out(imaging_metadata.imaging, run.left_out, str(run.session.key)))
        pictures = draw_locations(found, atlas)
        staging.write_fovs(found.datasets, where=str(run.session.key))
        staging.write(LOCATIONS_FILE, locations_to_json(found.locations).encode())
        return Product(
            staging,
            qc=check_locations(found.locations),
            figures={picture.name: picture.png for picture in pictures.full},
            metadata={**located_metadata(found.locations), **_shown(pictures)},
        )

    return materialized(context, platform, _PIXELS, compute)


@session_asset(_ROIS)
def roi_brain_locations(
    context: dg.AssetExecutionContext, platform: Platform, rois: FovDatasets, mean_image_mlapdv: LocatedFovs
) -> Result:
    """Look up where each cell lies."""
    from meso_core.location import load_atlas, locate_rois

    def compute(run: AssetRun) -> Product:
        atlas, staging = load_atlas(run.settings.location(), progress=run.progress), run.stage()
        pixels = mean_image_mlapdv.datasets
        found = locate_rois(mean_image_mlapdv.locations, rois, pixels, atlas, lacking=run.lacking)
        staging.write_fovs(found.datasets, where=str(run.session.key))
        return Product(
            staging,
            figures={picture.name: picture.png for picture in found.pictures.full},
            metadata={**roi_locations_metadata(found.datasets), **_shown(found.pictures)},
        )

    return materialized(context, platform, _ROIS, compute)


def _shown(pictures: "LocationPictures") -> dict[str, Any]:
    """Show the small picture, and list the full ones."""
    captions = {full.name: full.caption for full in pictures.full}
    return {**picture(pictures.inline.png, pictures.inline.caption), **figures_metadata(captions)}
