"""What an atlas is, and where its voxels lie.

What belongs here: the label volume of any ``BrainAtlas`` as a grid in µm from bregma, its description, and the wrapping
of a volume as a ``BrainAtlas``. What does not: where volumes come from (``loading``).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import AtlasError
from .annotation import BREGMA_UM
from .volumes import Volume

if TYPE_CHECKING:
    from iblatlas.atlas import BrainAtlas
    from iblatlas.regions import BrainRegions

#: Allen id of root: tissue that belongs to no area.
ROOT_ID = 997
_INFO = "meso_info"


@dataclass(frozen=True, slots=True)
class AtlasInfo:
    """What an atlas is; recorded with every result."""

    name: str
    resolution_um: float
    #: SHA-256 of the label volume.
    sha256: str
    #: Where the volume came from.
    source: str
    #: True for the procedural brain: its results are no anatomy and are never sent to Alyx.
    phantom: bool

    @property
    def caption(self) -> str:
        """Name for pictures and tables; it says so in capitals if the brain is not a real one."""
        name = self.source if self.name == "file" else self.name
        return f"{'PHANTOM ATLAS (not anatomy)' if self.phantom else name}, {self.resolution_um:g} µm"


@dataclass(frozen=True, slots=True)
class AtlasGrid:
    """Label volume of an atlas with axes (ML, AP, DV), all increasing in µm from bregma."""

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


def atlas_grid(atlas: BrainAtlas, scale: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> AtlasGrid:
    """Turn any ``BrainAtlas`` into a grid in µm from bregma with all axes increasing.

    Parameters
    ----------
    atlas
        Needs ``label``, ``bc``, ``regions`` and, for atlases with a scaled frame, ``res_um``.
    scale
        Factors on ML, AP and DV relative to bregma (1 keeps plain atlas µm, as published coordinates are).

    Raises
    ------
    AtlasError
        If ``label`` is not a three-dimensional volume of whole numbers.
    """
    label = atlas.label.transpose(tuple(int(d) for d in atlas.xyz2dims))
    step = np.asarray(atlas.bc.dxyz, dtype=float)
    if label.ndim != 3 or not np.issubdtype(label.dtype, np.integer):
        raise AtlasError.at(
            type(atlas).__name__,
            field="label",
            expected="a three-dimensional volume of region indices",
            found=f"shape {label.shape}, dtype {label.dtype}",
            remedy="Use an iblatlas BrainAtlas, or load_atlas",
        )
    index_of_bregma = -np.array([atlas.bc.x0, atlas.bc.y0, atlas.bc.z0]) / step
    signed = _voxel_um(atlas) * np.array(scale) * np.sign(step)
    first, last = -index_of_bregma * signed, (np.array(label.shape) - 1 - index_of_bregma) * signed
    label = label[tuple(slice(None, None, -1 if s < 0 else 1) for s in signed)]
    ids = np.asarray(atlas.regions.index2id(np.arange(len(atlas.regions.id))), dtype=np.int64)
    return AtlasGrid(label, np.minimum(first, last), np.abs(signed), ids)


def brain_atlas(label: Volume, resolution_um: float, regions: BrainRegions, info: AtlasInfo) -> BrainAtlas:
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


def describe_atlas(atlas: BrainAtlas) -> AtlasInfo:
    """Say what an atlas is. If ``load_atlas`` did not load it, its labels are hashed, once."""
    info: AtlasInfo | None = getattr(atlas, _INFO, None)
    if info is None:
        digest = hashlib.sha256(repr((atlas.label.shape, str(atlas.label.dtype))).encode())
        for section in atlas.label:
            digest.update(np.ascontiguousarray(section).data)
        res = float(np.min(_voxel_um(atlas)))
        info = AtlasInfo(type(atlas).__name__, res, digest.hexdigest(), "given by the caller", phantom=False)
        setattr(atlas, _INFO, info)
    return info


def _voxel_um(atlas: BrainAtlas) -> NDArray[np.float64]:
    """Voxel size per axis (ML, AP, DV) without the scaling of the atlas' frame, where the atlas knows it."""
    res = getattr(atlas, "res_um", None)
    sizes = np.abs(atlas.bc.dxyz) * 1e6 if res is None else np.asarray(res, dtype=float)
    return np.broadcast_to(sizes, 3).astype(float)
