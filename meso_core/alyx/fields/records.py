"""Records of Alyx that describe fields of view, as they are sent.

What belongs here: the shape of each record and its JSON. What does not: looking up or sending.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from ..plan import Action

#: Names that Alyx has for a mesoscope and for positions in µm from bregma in the Allen CCF (its fixtures).
IMAGING_TYPE = "mesoscope"
COORDINATE_SYSTEM = "IBL-Allen"


class Status(StrEnum):
    """What became of a record."""

    #: Dry run: it would be looked up, then created or brought up to date.
    NOT_SENT = "not sent"
    CREATED = "created"
    UPDATED = "updated"
    #: Alyx held the same already.
    UNCHANGED = "unchanged"


#: What was done with a record → what became of it.
STATUS_OF = {Action.CREATE: Status.CREATED, Action.CHANGE: Status.UPDATED, Action.NOTHING: Status.UNCHANGED}


@dataclass(frozen=True, slots=True)
class ImagingStackRecord:
    """``/imaging-stack``: FOVs of one ScanImage ROI at several depths."""

    #: ScanImage's id of the ROI.
    name: str
    status: Status = Status.NOT_SENT
    id: str | None = None

    def payload(self) -> dict[str, Any]:
        """Return what is sent."""
        return {"name": self.name}


@dataclass(frozen=True, slots=True)
class FieldOfViewRecord:
    """``/fields-of-view``."""

    #: ALF folder of the FOV.
    name: str
    #: Id of the session; its short path in a dry run.
    session: str
    #: Id of the stack (its name in a dry run); None for a FOV at a single depth.
    stack: str | None
    imaging_type: str = IMAGING_TYPE
    status: Status = Status.NOT_SENT
    id: str | None = None

    def payload(self) -> dict[str, Any]:
        """Return what is sent."""
        return {"session": self.session, "imaging_type": self.imaging_type, "name": self.name, "stack": self.stack}


@dataclass(frozen=True, slots=True)
class FovLocationRecord:
    """``/fov-location``: where a FOV lies."""

    #: Id of the FOV; its name in a dry run.
    field_of_view: str
    #: E, F, L or H.
    provenance: str
    #: µm from bregma, to the right, to the front, up; order top left, top right, bottom left, bottom right.
    x: tuple[float, ...]
    y: tuple[float, ...]
    z: tuple[float, ...]
    #: Number of pixels of the mean image: columns, rows, depths.
    n_xyz: tuple[int, int, int]
    #: Allen ids of all pixels, without repeats, ascending, not lateralised.
    brain_region: tuple[int, ...]
    #: Whether this is the location to use; only the best provenance is.
    default_provenance: bool
    coordinate_system: str = COORDINATE_SYSTEM
    status: Status = Status.NOT_SENT
    id: str | None = None

    def payload(self) -> dict[str, Any]:
        """Return what is sent."""
        fields = asdict(self)
        del fields["status"], fields["id"]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()}
