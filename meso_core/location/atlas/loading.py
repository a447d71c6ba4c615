"""The brain atlas that the settings name.

What belongs here: turning the settings into an ``iblatlas.atlas.BrainAtlas`` whose label volume is memory-mapped.
What does not: reading annotation (``annotation``, ``nrrd``), volumes on disk (``volumes``), what an atlas is
(``grid``).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import MissingInputError
from ...progress import Progress, silent
from ..settings import LocationSettings
from . import phantom
from .annotation import Indexer, check_orientation, downloaded_annotation, fill_from_array
from .grid import AtlasInfo, brain_atlas
from .nrrd import fill_from_nrrd
from .volumes import Volume, VolumeRecord, cached_volume, file_sha256

if TYPE_CHECKING:
    from iblatlas.atlas import BrainAtlas
    from iblatlas.regions import BrainRegions

#: Extent of the CCF along AP, ML and DV, µm.
_EXTENT_UM = (13200, 11400, 8000)


def load_atlas(settings: LocationSettings | None = None, *, progress: Progress = silent) -> BrainAtlas:
    """Load the atlas that the settings name.

    The first call on a machine makes the label volume in the cache folder. Later calls, in any process, map that file
    into memory: this takes a fraction of a second, and all processes share the memory.

    Parameters
    ----------
    settings
        Defaults to the Allen CCF at 10 µm (``mri_toronto``).
    progress
        Called while the volume is made.

    Returns
    -------
    iblatlas.atlas.BrainAtlas
        ``label`` is a read-only memory map of uint16 region indices (AP, ML, DV), lateralised as iblatlas does;
        ``image`` is empty (no template is loaded). :func:`describe_atlas` says what it is.

    Raises
    ------
    AtlasError
        If a volume is damaged, or of the wrong shape or orientation.
    MissingInputError
        If the file is not there, or cannot be downloaded.
    StorageError
        If the cache folder cannot be written, or has no room.
    """
    from iblatlas.regions import BrainRegions

    settings = settings or LocationSettings()
    regions, res = BrainRegions(), settings.resolution_um
    shape = (_EXTENT_UM[0] // res, _EXTENT_UM[1] // res, _EXTENT_UM[2] // res)
    if settings.atlas == "phantom":
        label, record = cached_volume(
            settings.cache_folder,
            f"phantom_{res}",
            shape,
            lambda volume: phantom.fill_phantom(volume, res, regions, progress),
            source=f"procedural, recipe {phantom.RECIPE}",
            source_sha256=hashlib.sha256(f"phantom {phantom.RECIPE} {res} {regions.id.size}".encode()).hexdigest(),
        )
    else:
        path = settings.atlas_path or downloaded_annotation(settings.cache_folder, res)
        label, record = _from_file(path, settings, shape, regions, progress)
    info = AtlasInfo(settings.atlas, res, record.sha256, record.source, settings.atlas == "phantom")
    return brain_atlas(label, res, regions, info)


def _from_file(
    path: Path, settings: LocationSettings, shape: tuple[int, int, int], regions: BrainRegions, progress: Progress
) -> tuple[Volume, VolumeRecord]:
    if not path.is_file():
        raise MissingInputError.at(
            path, expected="an annotation volume", found="no such file", remedy="Correct MESO_ATLAS_PATH"
        )
    to_index = Indexer(regions, settings.resolution_um, path)

    def fill(volume: Volume) -> None:
        if path.suffix == ".nrrd":
            fill_from_nrrd(path, volume, to_index, progress)
        else:
            fill_from_array(path, volume, to_index)
        check_orientation(volume, settings.resolution_um, regions, path)

    digest = file_sha256(path)
    name = f"{path.name.split('.')[0]}_{digest[:12]}_{settings.resolution_um}"
    return cached_volume(settings.cache_folder, name, shape, fill, source=path.name, source_sha256=digest)
