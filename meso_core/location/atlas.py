"""The brain atlas: one label volume per process, shared between processes, whatever its source.

What belongs here: turning the settings into an ``iblatlas.atlas.BrainAtlas`` whose label volume is memory-mapped, and
saying what an atlas is. What does not: files and caching (:mod:`meso_core.location.volumes`), the surface mesh.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ..errors import AtlasError, MissingInputError, problem
from ..progress import Progress, silent
from . import phantom
from .settings import LocationSettings
from .volumes import Volume, VolumeRecord, cached_volume, file_sha256, fill_from_nrrd, verify_nrrd

#: Bregma in the Allen CCF: µm along ML, AP and DV from the volume's corner (IBL's convention).
BREGMA_UM = (5739.0, 5400.0, 332.0)
#: Extent of the CCF along AP, ML and DV, µm.
_EXTENT_UM = (13200, 11400, 8000)
_INFO = "meso_info"


@dataclass(frozen=True, slots=True)
class AtlasInfo:
    """What an atlas is; recorded with every result."""

    name: str
    resolution_um: float
    #: SHA-256 of the region-index volume.
    sha256: str
    #: Where the volume came from.
    source: str
    #: True for the procedural brain: its results are no anatomy and never leave for Alyx.
    phantom: bool

    @property
    def caption(self) -> str:
        """Name for pictures and tables; shouts where the brain is not a real one."""
        name = self.source if self.name == "file" else self.name
        return f"{'PHANTOM ATLAS (not anatomy)' if self.phantom else name}, {self.resolution_um:g} µm"


@dataclass(frozen=True, slots=True)
class AtlasGrid:
    """Label volume of an atlas seen with axes (ML, AP, DV), all increasing in µm from bregma."""

    #: Region indices, a view of the atlas' own volume.
    label: Volume
    #: Position in µm of the first voxel's centre, per axis.
    origin_um: NDArray[np.float64]
    #: Voxel size in µm, per axis.
    voxel_um: NDArray[np.float64]
    #: Allen id by region index; both hemispheres have the same (positive) ids, as published locations do.
    ids: NDArray[np.int64]

    @property
    def step_um(self) -> float:
        """Distance of samples along a ray, µm: the smallest voxel edge."""
        return float(self.voxel_um.min())

    @property
    def end_um(self) -> NDArray[np.float64]:
        """Position in µm of the last voxel's centre, per axis."""
        end: NDArray[np.float64] = self.origin_um + self.voxel_um * (np.array(self.label.shape) - 1)
        return end


def load_atlas(settings: LocationSettings | None = None, *, progress: Progress = silent) -> Any:
    """Load the atlas that the settings name, once per process.

    Parameters
    ----------
    settings
        Defaults to the Allen CCF at 10 µm (``mri_toronto``).
    progress
        Told while a volume is read or made for the first time on this machine.

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
        If the file is not there.
    """
    settings = settings or LocationSettings()
    path = settings.atlas_path
    stamp = path.stat().st_mtime_ns if path is not None and path.exists() else 0
    key = (settings.atlas, settings.resolution_um, path, settings.cache, stamp)
    with _loading:
        if key not in _loaded:
            _loaded[key] = _open(settings, progress)
        return _loaded[key]


_loaded: dict[tuple[object, ...], Any] = {}
_loading = Lock()


def _open(settings: LocationSettings, progress: Progress) -> Any:
    from iblatlas.regions import BrainRegions

    regions = BrainRegions()
    res = settings.resolution_um
    shape = (_EXTENT_UM[0] // res, _EXTENT_UM[1] // res, _EXTENT_UM[2] // res)
    if settings.atlas == "phantom":
        label, record = cached_volume(
            settings.cache,
            f"phantom_{res}",
            shape,
            lambda volume: phantom.fill_phantom(volume, res, regions, progress),
            source=f"procedural, recipe {phantom.RECIPE}",
            source_sha256=hashlib.sha256(f"phantom {phantom.RECIPE} {res} {regions.id.size}".encode()).hexdigest(),
        )
    else:
        path = settings.atlas_path or downloaded_annotation(settings.cache, res)
        label, record = _from_file(path, settings, shape, regions, progress)
    info = AtlasInfo(settings.atlas, res, record.sha256, record.source, settings.atlas == "phantom")
    return brain_atlas(label, res, regions, info)


def _from_file(
    path: Path, settings: LocationSettings, shape: tuple[int, int, int], regions: Any, progress: Progress
) -> tuple[Volume, VolumeRecord]:
    if not path.is_file():
        raise MissingInputError(
            problem(path, expected="an annotation volume", found="no such file", remedy="Check the atlas path")
        )
    to_index = _Indexer(regions, settings.resolution_um, path)

    def fill(volume: Volume) -> None:
        if path.suffix == ".nrrd":
            fill_from_nrrd(path, volume, to_index, progress)
        else:
            fill_from_array(path, volume, to_index)
        check_orientation(volume, settings.resolution_um, regions, path)

    digest = file_sha256(path)
    name = f"{path.name.split('.')[0]}_{digest[:12]}_{settings.resolution_um}"
    return cached_volume(settings.cache, name, shape, fill, source=path.name, source_sha256=digest)


def brain_atlas(label: Volume, resolution_um: float, regions: Any, info: AtlasInfo) -> Any:
    """Wrap a label volume (AP, ML, DV) as an ``iblatlas.atlas.BrainAtlas`` with IBL's bregma as origin."""
    from iblatlas.atlas import BrainAtlas

    order = [1, 0, 2]
    image = np.broadcast_to(np.uint16(0), label.shape)  # the template is not needed, and would double the memory
    dxyz = resolution_um * 1e-6 * np.array([1.0, -1.0, -1.0])
    bregma = np.array(BREGMA_UM) / resolution_um
    atlas = BrainAtlas(image, label, dxyz, regions, bregma, dims2xyz=order, xyz2dims=order)
    atlas.res_um = resolution_um
    setattr(atlas, _INFO, info)
    return atlas


def describe_atlas(atlas: Any) -> AtlasInfo:
    """Say what an atlas is; for one that was not loaded by :func:`load_atlas` its labels are hashed once."""
    info = getattr(atlas, _INFO, None)
    if info is None:
        digest = hashlib.sha256(repr((atlas.label.shape, str(atlas.label.dtype))).encode())
        for section in atlas.label:
            digest.update(np.ascontiguousarray(section).data)
        res = float(np.min(_voxel_um(atlas)))
        info = AtlasInfo(type(atlas).__name__, res, digest.hexdigest(), "given by the caller", phantom=False)
        setattr(atlas, _INFO, info)
    return info


def _voxel_um(atlas: Any) -> NDArray[np.float64]:
    """Voxel size per axis (ML, AP, DV) without the scaling of the atlas' frame, where the atlas knows it."""
    res = getattr(atlas, "res_um", None)
    sizes = np.abs(atlas.bc.dxyz) * 1e6 if res is None else np.asarray(res, dtype=float)
    return np.broadcast_to(sizes, 3).astype(float)


def atlas_grid(atlas: Any, scale: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> AtlasGrid:
    """See any ``BrainAtlas`` as a grid in µm from bregma with all axes increasing.

    Parameters
    ----------
    atlas
        Needs ``label``, ``bc``, ``regions`` and, for atlases with a scaled frame, ``res_um``.
    scale
        Factors on ML, AP and DV relative to bregma (1 keeps plain atlas µm, as published coordinates are).
    """
    label = atlas.label.transpose(tuple(int(d) for d in atlas.xyz2dims))
    step = np.asarray(atlas.bc.dxyz, dtype=float)
    if label.ndim != 3 or not np.issubdtype(label.dtype, np.integer):
        raise AtlasError(
            problem(
                type(atlas).__name__,
                field="label",
                expected="a three-dimensional volume of region indices",
                found=f"shape {label.shape}, dtype {label.dtype}",
                remedy="Use an iblatlas BrainAtlas, or load_atlas",
            )
        )
    index_of_bregma = -np.array([atlas.bc.x0, atlas.bc.y0, atlas.bc.z0]) / step
    signed = _voxel_um(atlas) * np.array(scale) * np.sign(step)
    first, last = -index_of_bregma * signed, (np.array(label.shape) - 1 - index_of_bregma) * signed
    label = label[tuple(slice(None, None, -1 if s < 0 else 1) for s in signed)]
    ids = np.asarray(atlas.regions.index2id(np.arange(len(atlas.regions.id))), dtype=np.int64)
    return AtlasGrid(label, np.minimum(first, last), np.abs(signed), ids)


class _Indexer:
    """Turns Allen ids into lateralised region indices, as iblatlas' AllenAtlas does."""

    def __init__(self, regions: Any, resolution_um: int, path: Path) -> None:
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
            raise AtlasError(
                problem(
                    self._path,
                    expected="ids of the Allen structure tree",
                    found=f"id {int(ids[unknown][0])}",
                    remedy="Give the CCFv3 2017 annotation volume (not a template or another atlas)",
                )
            )
        return out


def fill_from_array(path: Path, volume: Volume, to_index: _Indexer) -> None:
    """Fill a volume (AP, ML, DV) from ``.npy`` or ``.npz``: Allen ids, or region indices as iblatlas caches them."""
    array = _read_array(path)
    if array.shape != volume.shape:
        raise AtlasError(
            problem(
                path,
                field="shape",
                expected=f"{volume.shape} (AP, ML, DV)",
                found=str(array.shape),
                remedy="Give the volume of the resolution that is set, with axes AP, ML, DV",
            )
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
        raise AtlasError(
            problem(
                path,
                expected="a whole .nrrd, .npz or .npy annotation volume",
                found=str(error),
                remedy="Fetch the file again; a download may have been cut short",
            )
        ) from error


#: Places (ML, AP), µm from bregma, over which the mouse's dorsal cortex lies.
_CORTEX_SITES = ((1500.0, -2000.0), (-1500.0, -2000.0), (2500.0, -3500.0), (-2500.0, -3500.0), (2000.0, 500.0))
_ISOCORTEX_ID = 315


def check_orientation(volume: Volume, resolution_um: int, regions: Any, path: Path) -> None:
    """Refuse a volume whose brain lies the wrong way up or round.

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
        raise AtlasError(
            problem(
                path,
                field="orientation",
                expected="axes AP (front first), ML, DV (dorsal first) with dorsal cortex on top",
                found=f"{', '.join(met)} on top; {width[0]} voxels wide in front and {width[1]} behind",
                remedy="Turn the volume to Allen's orientation",
            )
        )


def downloaded_annotation(cache: Path, resolution_um: int) -> Path:
    """Return the path of Allen's annotation volume, downloaded by iblatlas the first time.

    The download goes to a folder of its own and is read through to its end (gzip checksum, number of voxels)
    before it takes its name; so a file with the name is whole.
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
                raise MissingInputError(
                    problem(
                        path,
                        expected="the Allen annotation volume from iblatlas' download",
                        found=f"{type(error).__name__}: {error}",
                        remedy="Connect this machine once, or set atlas='file' with the path of a copy, or 'phantom'",
                    )
                ) from error
            verify_nrrd(got)
            got.replace(path)
    return path
