"""Fields of view and their locations in Alyx.

What belongs here: from metadata and locations to records, and sending them so that doing it twice changes nothing.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GateError, LocationError, MesoWarning, MetadataError, problem
from ..location.provenance import Provenance
from ..session import SessionKey, fov_name
from .client import AlyxClient, find_session, listed, read
from .records import FieldOfViewRecord, FovLocationRecord, ImagingStackRecord, Status

_BY_CODE = {provenance.alyx_code: provenance for provenance in Provenance}


@dataclass(frozen=True, slots=True)
class FovPlacement:
    """Where one field of view lies."""

    #: (4, 3) f8, µm, MLAPDV of the corners top left, top right, bottom left, bottom right.
    corners: NDArray[np.float64]
    #: Allen ids of its pixels; lateralised (negative) ones are folded when sent.
    region_ids: tuple[int, ...]
    provenance: Provenance
    #: Columns, rows, depths of the mean image.
    n_xyz: tuple[int, int, int]
    #: Whether the atlas was the procedural phantom, whose positions mean nothing outside of a demonstration.
    is_phantom: bool


@dataclass(frozen=True, slots=True)
class FovRegistration:
    """All records of a session's fields of view."""

    #: Short path of the session, or its id where only that was given.
    session: str
    stacks: tuple[ImagingStackRecord, ...]
    fields_of_view: tuple[FieldOfViewRecord, ...]
    locations: tuple[FovLocationRecord, ...]
    #: FOVs without a location record, since a corner of theirs is outside of the brain.
    not_located: tuple[str, ...]
    is_phantom: bool
    dry_run: bool

    def to_json(self) -> str:
        """Return the records as JSON, the same text for the same records."""
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"


def placements_from_arrays(
    meta: Mapping[str, Any],
    mlapdv: Mapping[int, NDArray[np.float64]],
    region_ids: Mapping[int, NDArray[np.integer[Any]]],
    provenance: Provenance,
    *,
    is_phantom: bool,
) -> tuple[FovPlacement, ...]:
    """Make placements from the mean images' coordinates, as ``project_mlapdv`` returns them.

    Parameters
    ----------
    meta
        Imaging metadata.
    mlapdv
        FOV number → (nY, nX, 3) f8, µm.
    region_ids
        FOV number → (nY, nX) int, Allen ids.
    provenance
        How the coordinates were found.
    is_phantom
        Whether the atlas was the phantom.
    """
    placements = []
    for i, fov in enumerate(meta["FOV"]):
        image = np.asarray(mlapdv[i], dtype=np.float64)
        corners = image[[0, 0, -1, -1], [0, -1, 0, -1]]
        ids = tuple(int(n) for n in np.unique(region_ids[i]))
        n_x, n_y, n_z = (int(n) for n in fov["nXnYnZ"])
        placements.append(FovPlacement(corners, ids, provenance, (n_x, n_y, n_z), is_phantom))
    return tuple(placements)


def register_fov(
    meta: Mapping[str, Any],
    placements: Sequence[FovPlacement],
    *,
    session: SessionKey | str,
    client: AlyxClient | None = None,
) -> FovRegistration:
    """Build the records of all fields of view, and send them if there is a client.

    What Alyx holds already is found first: a second call creates nothing. A location becomes the default only if Alyx
    has none of a better provenance.

    Parameters
    ----------
    meta
        Imaging metadata; FOVs of one ``roiUUID`` at several depths make a stack.
    placements
        One per FOV, in the order of ``meta['FOV']``.
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
        If positions in the phantom were to be sent.
    MetadataError, LocationError
        If metadata and placements do not fit, or a placement is malformed.
    AlyxError
        If Alyx does not hold the session, or holds it twice.
    """
    records = _build(meta, placements, str(session))
    if client is None:
        return records
    if records.is_phantom:
        raise GateError(
            problem(
                records.session,
                field="atlas",
                expected="positions in a real atlas",
                found="positions in the phantom",
                remedy="Set the atlas to mri_toronto or allen and locate the fields of view again",
            )
        )
    return _send(records, client, find_session(client, session))


def _build(meta: Mapping[str, Any], placements: Sequence[FovPlacement], session: str) -> FovRegistration:
    fovs = meta.get("FOV") or []
    try:
        uuids = [str(fov["roiUUID"]) for fov in fovs]
    except KeyError as error:
        raise MetadataError(
            problem(session, field="FOV.roiUUID", expected="an id per FOV", found="none", remedy="Patch the metadata")
        ) from error
    if not fovs or len(fovs) != len(placements):
        raise LocationError(
            problem(
                session,
                expected=f"a location for each of {len(fovs)} fields of view",
                found=f"{len(placements)} locations",
                remedy="Locate the fields of view of this session again",
            )
        )
    stacked = [uuid for uuid, count in Counter(uuids).items() if count > 1]
    records, locations, missing = [], [], []
    for i, (uuid, placement) in enumerate(zip(uuids, placements, strict=True)):
        name = fov_name(i)
        records.append(FieldOfViewRecord(name, session, uuid if uuid in stacked else None))
        if np.isfinite(placement.corners).all():
            locations.append(_location(name, placement))
        else:
            missing.append(name)
            warnings.warn(
                f"{session} {name}: a corner is outside of the brain, so Alyx gets the field of view without location",
                MesoWarning,
                stacklevel=4,
            )
    return FovRegistration(
        session,
        tuple(ImagingStackRecord(uuid) for uuid in stacked),
        tuple(records),
        tuple(locations),
        tuple(missing),
        is_phantom=any(placement.is_phantom for placement in placements),
        dry_run=True,
    )


def _location(name: str, placement: FovPlacement) -> FovLocationRecord:
    if placement.corners.shape != (4, 3):
        raise LocationError(
            problem(
                name,
                field="corners",
                expected="four corners with ML, AP and DV",
                found=f"shape {placement.corners.shape}",
                remedy="Give top left, top right, bottom left, bottom right",
            )
        )
    x, y, z = (tuple(float(v) for v in column) for column in placement.corners.T)
    regions = tuple(sorted({abs(int(i)) for i in placement.region_ids}))
    code = placement.provenance.alyx_code
    return FovLocationRecord(name, code, x, y, z, placement.n_xyz, regions, default_provenance=True)


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
    record = replace(record, default_provenance=not better)
    if record.provenance not in held:
        created = client.rest("fov-location", "create", data=record.payload())
        return replace(record, id=str(created["id"]), status=Status.CREATED)
    record = replace(record, id=str(held[record.provenance]["id"]), status=Status.UNCHANGED)
    if _same(record.payload(), read(client, "fov-location", str(record.id))):
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
