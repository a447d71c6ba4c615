"""Fields of view and their locations in Alyx.

What belongs here: from metadata and locations to records, and sending them so that doing it twice changes nothing.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import GateError, LocationError, MesoWarning, MetadataError
from ...json_text import json_text
from ...location import Provenance
from ...scanimage import as_imaging_metadata
from ...session import SessionKey
from ...session.imaging import Fov, ImagingMetadata
from ..plan import Kind, Outcome, Plan
from ..sending.carry import carry_out
from ..server.client import AlyxClient, find_session
from .fov_plan import fov_plan
from .records import COORDINATE_SYSTEM, STATUS_OF, FieldOfViewRecord, FovLocationRecord, ImagingStackRecord

if TYPE_CHECKING:
    from ...location import FovLocation, SessionLocations

#: Name of the coordinate frame that Alyx calls IBL-Allen.
SENT_FRAME = "ccf"


@dataclass(frozen=True, slots=True)
class FovRegistration:
    """All records of a session's fields of view."""

    #: Short path of the session, or its id where only that was given.
    session: str
    stacks: tuple[ImagingStackRecord, ...]
    fields_of_view: tuple[FieldOfViewRecord, ...]
    locations: tuple[FovLocationRecord, ...]
    #: Names of FOVs without a location record, since a corner of theirs is outside of the brain.
    not_located: tuple[str, ...]
    #: Name of the atlas, and whether it is the procedural phantom, whose records are never sent.
    atlas: str
    is_phantom: bool
    #: Coordinate frame of the positions; only plain CCF µm (``ccf``) are what Alyx means by IBL-Allen.
    frame: str
    dry_run: bool

    def to_json(self) -> str:
        """Return the records as JSON, the same text for the same records."""
        return json_text(asdict(self), indent=2) + "\n"


def register_fov(
    meta: Mapping[str, Any] | ImagingMetadata,
    locations: SessionLocations,
    *,
    session: SessionKey | str,
    client: AlyxClient | None = None,
    left_out: Collection[str] = (),
) -> FovRegistration:
    """Build the records of all fields of view, and send them if there is a client.

    Records that Alyx has already are found first, so a second call creates nothing. A location becomes the
    default only if Alyx has none of a better provenance.

    Parameters
    ----------
    meta
        Imaging metadata, or the content of their file; FOVs of one ROI at several depths make a stack.
    locations
        Where these FOVs lie.
    session
        Session key, or the session's id in Alyx.
    client
        Alyx client; None for a dry run.
    left_out
        Names of FOVs of which there are no locations, because they are left out.

    Returns
    -------
    FovRegistration

    Raises
    ------
    GateError
        If positions in the phantom, or in another frame than Alyx has, were to be sent.
    MetadataError, LocationError
        If metadata and locations do not fit.
    AlyxError
        If Alyx does not hold the session, or holds it twice.

    Warns
    -----
    MesoWarning
        If a corner of a FOV is outside of the brain; it is sent without location, since Alyx takes finite numbers.
    """
    records = _build(as_imaging_metadata(meta), locations, str(session), left_out)
    if client is None:
        return records
    if (never := _forbidden(records)) is not None:
        raise never
    plan = plan_fovs(records, client)
    return _with_answers(records, plan, carry_out(plan, client))


def _build(
    meta: ImagingMetadata, locations: SessionLocations, session: str, left_out: Collection[str]
) -> FovRegistration:
    fovs = [fov for fov in meta.fovs if fov.name not in left_out]
    shapes = [fov.shape for fov in fovs]
    if shapes != [tuple(fov.shape) for fov in locations.fovs]:
        raise LocationError.at(
            session,
            expected=f"locations of the fields of view of the metadata, rows and columns {shapes}",
            found=str([tuple(fov.shape) for fov in locations.fovs]),
            remedy="Locate the fields of view of this session again",
        )
    uuids = [_uuid(fov, session) for fov in fovs]
    stacked = [uuid for uuid, count in Counter(uuids).items() if count > 1]
    records, placed, missing = [], [], []
    for uuid, fov, located in zip(uuids, fovs, locations.fovs, strict=True):
        records.append(FieldOfViewRecord(fov.name, session, uuid if uuid in stacked else None))
        if np.isfinite(located.corners_um).all():
            placed.append(_location(located, locations.provenance, (fov.nx, fov.ny, fov.n_depths)))
        else:
            missing.append(fov.name)
            warnings.warn(
                f"{session} {fov.name}: a corner is outside of the brain, so Alyx gets this field of view without "
                "a location; check the window's centre",
                MesoWarning,
                stacklevel=3,
            )
    return FovRegistration(
        session,
        tuple(ImagingStackRecord(uuid) for uuid in stacked),
        tuple(records),
        tuple(placed),
        tuple(missing),
        locations.atlas.name,
        locations.phantom,
        locations.frame.value,
        dry_run=True,
    )


def _uuid(fov: Fov, session: str) -> str:
    if fov.roi_uuid is None:
        raise MetadataError.at(
            session,
            field=f"FOV[{fov.index}].roiUUID",
            expected="the id of its ROI, needed to find FOVs that form a stack",
            found="none",
            remedy="Make the metadata again from the tifs with extract_imaging_meta",
        )
    return fov.roi_uuid


def _location(fov: FovLocation, provenance: Provenance, n_xyz: tuple[int, int, int]) -> FovLocationRecord:
    x, y, z = (tuple(float(v) for v in column) for column in fov.corners_um.T)
    # lateralised ids are negative on the left; Alyx knows the Allen's own, positive ones only
    regions = tuple(sorted({abs(int(i)) for i in fov.brain_location_ids}))
    return FovLocationRecord(fov.name, provenance.alyx_code, x, y, z, n_xyz, regions, default_provenance=True)


def plan_fovs(records: FovRegistration, client: AlyxClient) -> Plan:
    """Compare the records of a session with what the server holds; nothing is sent.

    Parameters
    ----------
    records
        As :func:`register_fov` builds them without a client.
    client
        Alyx client.

    Raises
    ------
    AlyxError
        If Alyx does not hold the session, or holds it twice.
    """
    return fov_plan(records, client, find_session(client, records.session))


def why_never_sent(records: FovRegistration) -> str:
    """Say why these records are never sent to Alyx; empty where they may be."""
    never = _forbidden(records)
    return "" if never is None else str(never)


def _forbidden(records: FovRegistration) -> GateError | None:
    if records.is_phantom:
        return GateError.at(
            records.session,
            field="atlas",
            expected="positions in a real atlas",
            found=f"positions in the phantom ({records.atlas}), which is no brain",
            remedy="Set the atlas to mri_toronto or allen and locate the fields of view again",
        )
    if records.frame != SENT_FRAME:
        return GateError.at(
            records.session,
            field="frame",
            expected=f"plain µm of the Allen CCF ('{SENT_FRAME}'), which Alyx calls {COORDINATE_SYSTEM}",
            found=f"positions in the frame '{records.frame}'",
            remedy=f"Set the frame to '{SENT_FRAME}' and locate the fields of view again",
        )
    return None


def _with_answers(records: FovRegistration, plan: Plan, outcome: Outcome) -> FovRegistration:
    """Write into the records what the server answered."""
    sent = {(one.kind, one.name): one for one in outcome.records}
    payloads = {(one.kind, one.name): one.payload for one in plan.records}

    def stack(record: ImagingStackRecord) -> ImagingStackRecord:
        one = sent[Kind.STACK, record.name]
        return replace(record, id=one.id, status=STATUS_OF[one.action])

    def fov(record: FieldOfViewRecord) -> FieldOfViewRecord:
        one = sent[Kind.FOV, record.name]
        held = sent[Kind.STACK, record.stack].id if record.stack is not None else None
        return replace(record, session=outcome.eid, stack=held, id=one.id, status=STATUS_OF[one.action])

    def location(record: FovLocationRecord) -> FovLocationRecord:
        key = Kind.LOCATION, f"{record.field_of_view} {record.provenance}"
        one, default = sent[key], bool(payloads[key]["default_provenance"])
        of = sent[Kind.FOV, record.field_of_view].id
        return replace(record, field_of_view=of, default_provenance=default, id=one.id, status=STATUS_OF[one.action])

    return replace(
        records,
        stacks=tuple(map(stack, records.stacks)),
        fields_of_view=tuple(map(fov, records.fields_of_view)),
        locations=tuple(map(location, records.locations)),
        dry_run=False,
    )
