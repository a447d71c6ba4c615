"""Settings of the location stage.

What belongs here: what a lab can choose, with the allowed values. What does not: what is done with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ..errors import SettingsError

#: Folder for atlas volumes and meshes, if no other is chosen.
DEFAULT_CACHE = Path("~/.cache/meso")

_ATLASES = ("mri_toronto", "allen", "phantom", "file")
_RESOLUTIONS_UM = (10, 25, 50)


class Frame(Enum):
    """Coordinate frame of MLAPDV."""

    #: Plain µm of the Allen CCF relative to bregma; the frame of published IBL coordinates.
    CCF = "ccf"
    #: CCF scaled per axis to the MRI of the living brain (Qiu et al. 2018, as in iblatlas' MRITorontoAtlas).
    MRI_TORONTO = "mri_toronto"

    @property
    def scale(self) -> tuple[float, float, float]:
        """Factors on the CCF's ML, AP and DV axes."""
        return (0.952, 1.031, 0.885) if self is Frame.MRI_TORONTO else (1.0, 1.0, 1.0)


class NormalRule(Enum):
    """How the tilt of the coverslip follows from the surface mesh."""

    #: Mean of the surface around the window's centre.
    REGION = "region"
    #: Plane of the one mesh triangle under the centre, as ibllib does; for reproducing old results.
    FACET = "facet"


@dataclass(frozen=True, slots=True)
class LocationSettings:
    """Choices of the location stage.

    Raises
    ------
    SettingsError
        If a value is not allowed.
    """

    #: ``mri_toronto`` (default), ``allen``: the Allen CCFv3 (2017) that iblatlas downloads once;
    #: ``phantom``: a procedural brain; ``file``: the volume at :attr:`atlas_path`.
    atlas: str = "mri_toronto"
    #: Voxel size in µm: 10, 25 or 50.
    resolution_um: int = 10
    #: Annotation volume (``.nrrd``, ``.npz`` or ``.npy``) for ``atlas='file'``.
    atlas_path: Path | None = None
    #: ``.npz`` with ``points`` and ``connectivity_list``; None makes the mesh from the atlas.
    mesh_path: Path | None = None
    normal_rule: NormalRule = NormalRule.REGION
    frame: Frame = Frame.CCF
    #: Folder for atlas volumes and meshes, one per machine.
    cache_folder: Path = DEFAULT_CACHE

    def __post_init__(self) -> None:
        _allowed("atlas", self.atlas, _ATLASES)
        _allowed("resolution_um", self.resolution_um, _RESOLUTIONS_UM)
        for field, kind in (("normal_rule", NormalRule), ("frame", Frame)):
            value = getattr(self, field)
            _allowed(field, getattr(value, "value", value), tuple(k.value for k in kind))
            object.__setattr__(self, field, kind(getattr(value, "value", value)))
        for field in ("atlas_path", "mesh_path", "cache_folder"):
            value = getattr(self, field)
            object.__setattr__(self, field, None if value is None else Path(value).expanduser())
        if (self.atlas == "file") != (self.atlas_path is not None):
            raise SettingsError.at(
                "location settings",
                field="atlas_path",
                expected="a path if, and only if, atlas is 'file'",
                found=f"atlas={self.atlas!r}, atlas_path={self.atlas_path}",
                remedy="Set both MESO_ATLAS=file and MESO_ATLAS_PATH, or neither",
            )

    def as_record(self) -> dict[str, str | int | None]:
        """Return the settings that results depend on, as JSON values."""
        return {
            "atlas": self.atlas,
            "atlas_resolution_um": self.resolution_um,
            "atlas_path": None if self.atlas_path is None else str(self.atlas_path),
            "mesh_path": None if self.mesh_path is None else str(self.mesh_path),
            "normal_rule": self.normal_rule.value,
            "frame": self.frame.value,
        }


def _allowed(field: str, value: object, allowed: tuple[object, ...]) -> None:
    if isinstance(value, bool) or value not in allowed:
        raise SettingsError.at(
            "location settings",
            field=field,
            expected=f"one of {', '.join(map(str, allowed))}",
            found=repr(value),
            remedy="Choose one of these",
        )
