"""Annotation: the Allen's volume, downloaded once, or a file, translated to the region indices that iblatlas uses.

What belongs here: reading, translating and refusing annotation. What does not: nrrd files (``nrrd``), and the atlas
that is made from annotation (``loading``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from ...errors import AtlasError, MissingInputError
from .nrrd import verify_nrrd
from .volumes import Volume

if TYPE_CHECKING:
    from iblatlas.regions import BrainRegions

#: Bregma in the Allen CCF: µm along ML, AP and DV from the volume's corner (IBL's convention).
BREGMA_UM = (5739.0, 5400.0, 332.0)


class Indexer:
    """Turns Allen ids into lateralised region indices, as iblatlas' AllenAtlas does."""

    def __init__(self, regions: BrainRegions, resolution_um: int, path: Path) -> None:
        ids = np.asarray(regions.id, dtype=np.int64)
        order = np.argsort(ids)
        self._path = path
        self._ids, self._index = ids[order], order.astype(np.uint16)
        self._known = np.zeros(1 << 16, dtype=bool)
        self._low = np.zeros((2, 1 << 16), dtype=np.uint16)  # nearly all voxels have small ids
        small = np.flatnonzero(np.abs(ids) < 1 << 16)
        right, left = small[ids[small] >= 0], small[ids[small] <= 0]
        self._low[0, ids[right]], self._low[1, -ids[left]] = right, left
        self._known[ids[right]] = True
        self._first_right = int(BREGMA_UM[0] / resolution_um)

    def __call__(self, ids: Volume, first_ml: int) -> Volume:
        """Map ids (n_ml, DV, AP) of sagittal sections that begin at ``first_ml``."""
        out = np.empty(ids.shape, dtype=np.uint16)
        for k in range(len(ids)):
            left = first_ml + k < self._first_right
            out[k] = self._section(ids[k], left)
        return out

    def _section(self, ids: Volume, left: bool) -> Volume:
        small = ids < (1 << 16)
        low = np.where(small, ids, 0).astype(np.intp)
        out: Volume = self._low[int(left)][low]
        unknown = small & ~self._known[low] if ids.dtype.kind == "u" else (ids < 0) | (small & ~self._known[low])
        if not small.all():
            large = ids[~small].astype(np.int64) * (-1 if left else 1)
            at = np.minimum(np.searchsorted(self._ids, large), len(self._ids) - 1)
            if unknown.any() or (self._ids[at] != large).any():
                unknown[~small] = self._ids[at] != large
            out[~small] = self._index[at]
        if unknown.any():
            raise AtlasError.at(
                self._path,
                expected="ids of the Allen structure tree",
                found=f"id {int(ids[unknown][0])}",
                remedy="Let MESO_ATLAS_PATH name the CCFv3 2017 annotation volume (not a template or another atlas)",
            )
        return out


def fill_from_array(path: Path, volume: Volume, to_index: Indexer) -> None:
    """Fill a volume (AP, ML, DV) from ``.npy`` or ``.npz``: Allen ids, or region indices as iblatlas caches them."""
    array = _read_array(path)
    if array.shape != volume.shape:
        raise AtlasError.at(
            path,
            field="shape",
            expected=f"{volume.shape} (AP, ML, DV)",
            found=str(array.shape),
            remedy="Let MESO_ATLAS_PATH name the volume of MESO_ATLAS_RESOLUTION_UM, with axes AP, ML, DV",
        )
    if "_lut_" in path.name:  # iblatlas' own cache: already lateralised region indices
        volume[:] = array
        return
    for ml in range(array.shape[1]):
        volume[:, ml, :] = to_index(array[:, ml : ml + 1, :].transpose(1, 2, 0), ml)[0].T


def _read_array(path: Path) -> Volume:
    try:
        if path.suffix == ".npy":
            mapped: Volume = np.load(path, mmap_mode="r")
            return mapped
        with path.open("rb") as raw, np.load(raw) as file:
            return np.asarray(file[file.files[0]])
    except (ValueError, OSError, EOFError, IndexError, BadZipFile) as error:
        raise AtlasError.at(
            path,
            expected="a complete .nrrd, .npz or .npy annotation volume",
            found=str(error),
            remedy="Download the file that MESO_ATLAS_PATH names again; it may have been cut short",
        ) from error


#: Places (ML, AP), µm from bregma, over which the mouse's dorsal cortex lies.
_CORTEX_SITES = ((1500.0, -2000.0), (-1500.0, -2000.0), (2500.0, -3500.0), (-2500.0, -3500.0), (2000.0, 500.0))
_ISOCORTEX_ID = 315


def check_orientation(volume: Volume, resolution_um: int, regions: BrainRegions, path: Path) -> None:
    """Refuse a volume whose brain is upside down or back to front.

    From above, the first area over dorsal cortex must be cortex, and the brain must be wider 1 mm from the volume's
    back end (cerebellum) than 1 mm from its front (olfactory bulb).
    """
    cortex = np.isin(np.abs(regions.id), regions.descendants(_ISOCORTEX_ID)["id"])
    met = []
    for ml, ap in _CORTEX_SITES:
        column = volume[int((BREGMA_UM[1] - ap) / resolution_um), int((BREGMA_UM[0] + ml) / resolution_um)]
        areas = column[~np.isin(np.abs(regions.id[column]), (0, 997))]
        met.append(str(regions.acronym[areas[0]]) if len(areas) else "void")
        cortical = len(areas) > 0 and bool(cortex[areas[0]])
        if not cortical:
            break
    width = [np.count_nonzero(volume[int(k / resolution_um)].any(axis=1)) for k in (1000.0, 12000.0)]
    if not cortical or width[0] >= width[1]:
        raise AtlasError.at(
            path,
            field="orientation",
            expected="axes AP (front first), ML, DV (dorsal first) with dorsal cortex on top",
            found=f"{', '.join(met)} on top; {width[0]} voxels wide in front and {width[1]} behind",
            remedy="Turn the volume to the Allen CCF's orientation",
        )


def downloaded_annotation(cache: Path, resolution_um: int) -> Path:
    """Return the path of Allen's annotation volume, downloaded by iblatlas the first time.

    The download goes to a folder of its own. It is read to its end (gzip checksum, number of voxels) before it takes
    its name, so a file with that name is complete.

    Raises
    ------
    MissingInputError
        If the download fails.
    AtlasError
        If what was downloaded is damaged.
    """
    from filelock import FileLock
    from iblatlas import atlas as ibl

    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"annotation_{resolution_um}.nrrd"
    with FileLock(cache / f"{path.name}.lock"):
        if not path.is_file():
            partial = cache / f".download_{resolution_um}" / path.name
            partial.parent.mkdir(exist_ok=True)
            try:
                got = Path(ibl._download_atlas_allen(partial))
            except OSError as error:
                raise MissingInputError.at(
                    path,
                    expected="the Allen annotation volume from iblatlas' download",
                    found=f"{type(error).__name__}: {error}",
                    remedy="Connect this machine to the internet once, or set MESO_ATLAS=file and MESO_ATLAS_PATH to a "
                    "copy; MESO_ATLAS=phantom is a made-up brain that needs no download",
                ) from error
            verify_nrrd(got)
            got.replace(path)
    return path
