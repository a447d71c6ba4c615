"""The brain atlas: one label volume per process, shared between processes, whatever its source.

What belongs here: turning the settings into an ``iblatlas.atlas.BrainAtlas`` whose label volume is memory-mapped, and
saying what an atlas is. What does not: where annotation comes from (:mod:`meso_core.location.atlas.annotation`),
files and caching (:mod:`meso_core.location.atlas.volumes`), the surface mesh.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import AtlasError, MissingInputError, problem
from ...progress import Progress, silent
from ..settings import LocationSettings
from . import phantom
from .annotation import BREGMA_UM, Indexer, check_orientation, downloaded_annotation, fill_from_array
from .volumes import Volume, VolumeRecord, cached_volume, file_sha256, fill_from_nrrd

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
    to_index = Indexer(regions, settings.resolution_um, path)

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
