"""Group location: where each pixel and each cell lies in the brain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from meso_core.session import IMAGING_META_FILE, fov_name, imaging_bouts

from ..defs.made_with import settings_of
from ..io.managers import FovDatasets, Product, SessionFiles
from ..io.metadata import figures_metadata, located_metadata, picture, roi_locations_metadata
from ..io.resources import OpenSession
from .session_asset import platform_of, session_asset

if TYPE_CHECKING:
    from pathlib import Path

    from meso_core.location import Picture, Projection, SessionLocations

_LOCATIONS = "alf/fovs.locations.json"


@session_asset("mean_image_mlapdv", io_manager="alf", after=("raw_session",), inputs=("imaging_metadata",))
def mean_image_mlapdv(session: OpenSession, context: Any, imaging_metadata: SessionFiles) -> Product:
    """Place every pixel of every field of view in the brain, by the best source that the session holds."""
    from meso_core.location import check_locations, draw_inline, find_reference, load_atlas, locate_session

    chosen = platform_of(context).settings
    settings = chosen.location()
    atlas = load_atlas(settings)
    bouts = imaging_bouts(session.path)
    found = locate_session(session.metadata(), atlas, find_reference(bouts), settings=settings)
    inline, pictures = draw_inline(found.locations, atlas), _pictures(found, atlas)
    return Product(
        _datasets("mpciMeanImage", found.locations, found.mlapdv, found.brain_location_ids),
        settings=settings_of("mean_image_mlapdv", chosen),
        qc=check_locations(found.locations),
        texts={_LOCATIONS: found.locations.to_json()},
        figures={picture.name: picture.png for picture in pictures},
        metadata={
            **located_metadata(found.locations),
            **picture(inline.png, inline.caption),
            **figures_metadata({picture.name: picture.caption for picture in pictures}),
        },
        then=(lambda: _write_meta(bouts, found.locations)) if settings.also_write_meta else None,
    )


@session_asset("roi_brain_locations", io_manager="alf", inputs=("rois", "mean_image_mlapdv"))
def roi_brain_locations(
    session: OpenSession, context: Any, rois: FovDatasets, mean_image_mlapdv: FovDatasets
) -> Product:
    """Look up where each cell lies."""
    from meso_core.location import draw_fov, load_atlas, read_locations, roi_mlapdv

    locations = read_locations(session.path / _LOCATIONS)
    atlas = load_atlas(platform_of(context).settings.location())
    mlapdv, ids = (locations.provenance.attribute(name) for name in ("mlapdv", "brainLocationIds_ccf_2017"))
    places, regions, pictures = {}, {}, []
    for record in locations.fovs:
        cells, image = rois[record.name], mean_image_mlapdv[record.name]
        pixels, pixel_ids = (np.asarray(image[f"mpciMeanImage.{name}"]) for name in (mlapdv, ids))
        at = np.asarray(cells["mpciROIs.stackPos"])
        places[record.fov], regions[record.fov] = roi_mlapdv(at, pixels, pixel_ids, record.name)
        mean = np.asarray(cells["mpciMeanImage.images"])
        pictures.append(draw_fov(record, mean, pixel_ids, atlas, stack_pos=at, roi_ids=regions[record.fov]))
    datasets = _datasets("mpciROIs", locations, places, regions)
    metadata = {
        **roi_locations_metadata(datasets),
        **picture(pictures[0].png, pictures[0].caption),
        **figures_metadata({picture.name: picture.caption for picture in pictures}),
    }
    return Product(datasets, figures={picture.name: picture.png for picture in pictures}, metadata=metadata)


def _datasets(alf_object: str, locations: SessionLocations, mlapdv: Any, ids: Any) -> FovDatasets:
    """Name positions and regions of all FOVs after their provenance."""
    names = [f"{alf_object}.{locations.provenance.attribute(n)}" for n in ("mlapdv", "brainLocationIds_ccf_2017")]
    return {fov_name(fov): dict(zip(names, (mlapdv[fov], ids[fov]), strict=True)) for fov in mlapdv}


def _pictures(found: Projection, atlas: Any) -> list[Picture]:
    from meso_core.location import draw_dorsal, draw_slices

    slices = [draw_slices(found, atlas, fov.fov) for fov in found.locations.fovs]
    return [draw_dorsal(found.locations, atlas), *slices]


def _write_meta(bouts: tuple[Path, ...], locations: SessionLocations) -> None:
    """Put the corners where older tools look for them; the rig's own files are kept beside."""
    from meso_core.location import add_to_meta

    for bout in bouts:
        if (bout / IMAGING_META_FILE).is_file():
            add_to_meta(bout / IMAGING_META_FILE, locations)
