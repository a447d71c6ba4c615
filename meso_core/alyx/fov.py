"""Fields of view and their locations in Alyx.

What belongs here: from metadata and locations to records, and sending them so that doing it twice changes nothing.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import GateError, LocationError, MesoWarning, MetadataError
from ..json_text import json_text
from ..location import Provenance
from ..scanimage import as_imaging_metadata
from ..session import SessionKey
from ..session.imaging import Fov, ImagingMetadata
from .client import AlyxClient, find_session, listed, read
from .records import COORDINATE_SYSTEM, FieldOfViewRecord, FovLocationRecord, ImagingStackRecord, Status

if TYPE_CHECKING:
    from ..location import FovLocation, SessionLocations

#: Name of the coordinate frame that Alyx calls IBL-Allen.
SENT_FRAME = "ccf"
_BY_CODE = {provenance.alyx_code: provenance for provenance in Provenance}


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
    records = _build(as_imaging_metadata(meta), locations, str(session))
    if client is None:
        return records
    _gate(records)
    return _send(records, client, find_session(client, session))


def _gate(records: FovRegistration) -> None:
    if records.is_phantom:
        raise GateError.at(
            records.session,
            field="atlas",
            expected="positions in a real atlas",
            found=f"positions in the phantom ({records.atlas})",
            remedy="Set the atlas to mri_toronto or allen and locate the fields of view again",
        )
    if records.frame != SENT_FRAME:
        raise GateError.at(
            records.session,
            field="frame",
            expected=f"plain µm of the Allen CCF ('{SENT_FRAME}'), which Alyx calls {COORDINATE_SYSTEM}",
            found=f"positions in the frame '{records.frame}'",
            remedy=f"Set the frame to '{SENT_FRAME}' and locate the fields of view again",
        )


def _build(meta: ImagingMetadata, locations: SessionLocations, session: str) -> FovRegistration:
    shapes = [fov.shape for fov in meta.fovs]
    if shapes != [tuple(fov.shape) for fov in locations.fovs]:
        raise LocationError.at(
            session,
            expected=f"locations of the fields of view of the metadata, rows and columns {shapes}",
            found=str([tuple(fov.shape) for fov in locations.fovs]),
            remedy="Locate the fields of view of this session again",
        )
    uuids = [_uuid(fov, session) for fov in meta.fovs]
    stacked = [uuid for uuid, count in Counter(uuids).items() if count > 1]
    records, placed, missing = [], [], []
    for uuid, fov, located in zip(uuids, meta.fovs, locations.fovs, strict=True):
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


def _send(records: FovRegistration, client: AlyxClient, eid: str) -> FovRegistration:
    known = {row["name"]: row for row in listed(client, "fields-of-view", session=eid)}
    stacks = {stack.name: _send_stack(stack, records, known, client) for stack in records.stacks}
    fovs, locations = [], []
    by_name = {location.field_of_view: location for location in records.locations}
    for record in records.fields_of_view:
        stack = stacks[record.stack].id if record.stack is not None else None
        fov = _send_fov(replace(record, session=eid, stack=stack), known.get(record.name), client)
        fovs.append(fov)
        if record.name in by_name and fov.id is not None:
            locations.append(_send_location(replace(by_name[record.name], field_of_view=fov.id), client))
    return replace(
        records,
        stacks=tuple(stacks.values()),
        fields_of_view=tuple(fovs),
        locations=tuple(locations),
        dry_run=False,
    )


def _send_stack(
    stack: ImagingStackRecord, records: FovRegistration, known: Mapping[str, Any], client: AlyxClient
) -> ImagingStackRecord:
    # stacks have no unique name and cannot be deleted, so the one that a FOV of this session has is the one
    for fov in records.fields_of_view:
        held = known.get(fov.name, {}).get("stack") if fov.stack == stack.name else None
        if held:
            return replace(stack, id=str(held), status=Status.UNCHANGED)
    created = client.rest("imaging-stack", "create", data=stack.payload())
    return replace(stack, id=str(created["id"]), status=Status.CREATED)


def _send_fov(record: FieldOfViewRecord, held: Mapping[str, Any] | None, client: AlyxClient) -> FieldOfViewRecord:
    if held is None:
        created = client.rest("fields-of-view", "create", data=record.payload())
        return replace(record, id=str(created["id"]), status=Status.CREATED)
    record = replace(record, id=str(held["id"]), status=Status.UNCHANGED)
    if record.stack is not None and held.get("stack") != record.stack:
        client.rest("fields-of-view", "partial_update", id=record.id, data={"stack": record.stack})
        return replace(record, status=Status.UPDATED)
    return record


def _send_location(record: FovLocationRecord, client: AlyxClient) -> FovLocationRecord:
    held = {row["provenance"]: row for row in read(client, "fields-of-view", record.field_of_view)["location"]}
    rank = _BY_CODE[record.provenance].value
    better = any(_BY_CODE[code].value > rank for code in held if code in _BY_CODE)
    if record.provenance not in held:
        record = replace(record, default_provenance=not better)
        created = client.rest("fov-location", "create", data=record.payload())
        return replace(record, id=str(created["id"]), status=Status.CREATED)
    known = read(client, "fov-location", str(held[record.provenance]["id"]))
    # where there is a better location, the default has been decided, perhaps by a person
    default = bool(known["default_provenance"]) if better else True
    record = replace(record, id=str(known["id"]), default_provenance=default, status=Status.UNCHANGED)
    if _same(record.payload(), known):
        return record
    client.rest("fov-location", "partial_update", id=record.id, data=record.payload())
    return replace(record, status=Status.UPDATED)


def _same(sent: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    """Tell whether Alyx holds what would be sent; lists of regions come back in any order."""
    for key, value in sent.items():
        other = held.get(key)
        if key in ("x", "y", "z"):
            if other is None or len(other) != len(value) or not np.allclose(value, other, rtol=0, atol=1e-6):
                return False
        elif key == "brain_region":
            if sorted(other or ()) != value:
                return False
        elif key == "field_of_view":
            continue
        elif other != value:
            return False
    return True
