"""The plan for fields of view: what Alyx holds of them is compared with what is known here.

What belongs here: stacks, fields of view, their locations. What does not: how these records are built (``fov``).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import MesoWarning
from ...location import Provenance
from ..plan import Action, Change, Kind, Part, Plan, Planned, Ref
from ..server.client import AlyxClient, HeldSession, listed, read
from ..server.state import fov_state, held_fovs
from .records import FieldOfViewRecord, FovLocationRecord, ImagingStackRecord

if TYPE_CHECKING:
    from .fov import FovRegistration

#: Key in the JSON of a field of view that the server has and the session has not.
NOT_IN_SESSION = "not_in_session"
_BY_CODE = {provenance.alyx_code: provenance for provenance in Provenance}
_TOLERANCE_UM = 1e-6
_MOST_ORPHANS = 20


def fov_plan(records: FovRegistration, client: AlyxClient, session: HeldSession) -> Plan:
    """Compare the records of a session with what the server holds; nothing is sent."""
    rows = held_fovs(client, session.eid)
    known = {str(row["name"]): row for row in rows}
    stacks = [_stack(stack, records, known, client) for stack in records.stacks]
    ids = {stack.name: stack.id for stack in stacks}
    planned = [*stacks]
    by_name = {location.field_of_view: location for location in records.locations}
    regions = _known_regions(client) if by_name else frozenset()
    for fov in records.fields_of_view:
        held = known.get(fov.name)
        planned.append(_fov(fov, held, ids, session.eid))
        if fov.name in by_name:
            planned.append(_location(by_name[fov.name], held, regions))
    ours = {fov.name for fov in records.fields_of_view}
    others = [row for row in rows if row["name"] not in ours]
    planned += [_not_in_session(row) for row in others]
    remarks = tuple(f"Alyx has {row['name']}, and the session has no such field of view; it is kept" for row in others)
    for remark in remarks:
        warnings.warn(f"{session.name}: {remark}, and marked in its JSON", MesoWarning, stacklevel=2)
    return Plan(Part.FOVS, session.name, session.eid, tuple(planned), fov_state(rows), remarks, subject=session.subject)


def _stack(
    stack: ImagingStackRecord, records: FovRegistration, known: Mapping[str, Any], client: AlyxClient
) -> Planned:
    # stacks have no unique name and cannot be deleted, so the one that a FOV of this session has is the one
    fovs = [fov.name for fov in records.fields_of_view if fov.stack == stack.name]
    held = next((known[name]["stack"] for name in fovs if known.get(name, {}).get("stack")), None)
    held = held or _orphan(stack.name, client)
    if held:
        return Planned(Kind.STACK, stack.name, Action.NOTHING, str(held), payload=stack.payload())
    return Planned(Kind.STACK, stack.name, Action.CREATE, payload=stack.payload())


def _orphan(name: str, client: AlyxClient) -> str | None:
    """Find a stack of this name without slices: one that was made by a run that ended before its FOVs were."""
    rows = listed(client, "imaging-stack", django=f"name,{name}")
    for record in sorted({str(row["id"]) for row in rows})[:_MOST_ORPHANS]:
        if read(client, "imaging-stack", record).get("slices") == []:
            return record
    return None


def _fov(
    record: FieldOfViewRecord, held: Mapping[str, Any] | None, stacks: Mapping[str, str | None], eid: str
) -> Planned:
    payload = {**record.payload(), "session": eid}
    refs = {"stack": Ref(Kind.STACK, record.stack)} if record.stack is not None else {}
    if held is None:
        return Planned(Kind.FOV, record.name, Action.CREATE, payload=payload, refs=refs)
    changes, sent, used = [], dict[str, Any](), dict[str, Ref]()
    if record.stack is not None and held.get("stack") != (stacks[record.stack] or ""):
        changes.append(Change("stack", held.get("stack"), stacks[record.stack] or f"the new one of {record.stack}"))
        sent["stack"], used = record.stack, refs
    marked = held.get("json")
    if isinstance(marked, Mapping) and NOT_IN_SESSION in marked:
        sent["json"] = {key: value for key, value in marked.items() if key != NOT_IN_SESSION} or None
        changes.append(Change("json", marked, sent["json"]))
    action = Action.CHANGE if changes else Action.NOTHING
    return Planned(Kind.FOV, record.name, action, str(held["id"]), tuple(changes), sent, used)


def _not_in_session(row: Mapping[str, Any]) -> Planned:
    held = row.get("json") or {}
    if not isinstance(held, Mapping) or held.get(NOT_IN_SESSION) is True:
        return Planned(Kind.FOV, str(row["name"]), Action.NOTHING, str(row["id"]), why="not in the session")
    marked = {**held, NOT_IN_SESSION: True}
    change = Change("json", row.get("json"), marked)
    return Planned(
        Kind.FOV, str(row["name"]), Action.CHANGE, str(row["id"]), (change,), {"json": marked}, why="not in the session"
    )


def _location(record: FovLocationRecord, held_fov: Mapping[str, Any] | None, regions: frozenset[int]) -> Planned:
    name = f"{record.field_of_view} {record.provenance}"
    ours = {**record.payload(), "field_of_view": record.field_of_view}
    refs = {"field_of_view": Ref(Kind.FOV, record.field_of_view)}
    if regions and (unknown := sorted(set(record.brain_region) - regions)):
        why = f"Alyx has no brain region {', '.join(map(str, unknown))}: locate with the Allen atlas that Alyx knows"
        return Planned(Kind.LOCATION, name, Action.CONFLICT, payload=ours, refs=refs, why=why)
    held = {str(row["provenance"]): row for row in (held_fov or {}).get("location", ())}
    rank = _BY_CODE[record.provenance].value
    better = any(_BY_CODE[code].value > rank for code in held if code in _BY_CODE)
    if record.provenance not in held:
        return Planned(
            Kind.LOCATION, name, Action.CREATE, payload={**ours, "default_provenance": not better}, refs=refs
        )
    known = held[record.provenance]
    # where there is a better location, the default has been decided, perhaps by a person
    ours["default_provenance"] = bool(known["default_provenance"]) if better else True
    changes = tuple(
        Change(key, known.get(key), value)
        for key, value in ours.items()
        if key != "field_of_view" and not _equal(key, value, known.get(key))
    )
    action = Action.CHANGE if changes else Action.NOTHING
    return Planned(Kind.LOCATION, name, action, str(known["id"]), changes, ours, refs)


def _equal(field: str, ours: Any, held: Any) -> bool:  # noqa: ANN401  JSON
    """Tell whether the server holds a value; lists of regions come back in any order."""
    if field in ("x", "y", "z"):
        same_length = isinstance(held, list) and len(held) == len(ours) and None not in held
        return same_length and bool(np.allclose(ours, held, rtol=0, atol=_TOLERANCE_UM))
    if field == "brain_region":
        return sorted(held or ()) == list(ours)
    return bool(held == ours)


def _known_regions(client: AlyxClient) -> frozenset[int]:
    return frozenset(int(row["id"]) for row in listed(client, "brain-regions"))
