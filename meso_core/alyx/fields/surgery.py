"""The surface normal of the craniotomy, in the subject's JSON in Alyx (histology uses it).

What belongs here: matching the craniotomy to the imaging metadata, and merging the normal in.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import GateError, LocationError, MesoWarning
from ...json_text import json_text
from ...scanimage import as_window_center
from ...session.imaging import ImagingMetadata
from ..plan import Action, Change, Kind, Part, Plan, Planned, state_digest
from ..sending.carry import carry_out
from ..server.client import AlyxClient
from ..server.state import held_craniotomies
from .records import STATUS_OF, Status

NORMAL_KEY = "surface_normal_unit_vector"


@dataclass(frozen=True, slots=True)
class SurgeryUpdate:
    """The normal of a craniotomy, and what became of it."""

    subject: str
    #: mm, ML and AP of the window's centre; the craniotomy with this centre is meant.
    center: tuple[float, float]
    surface_normal_unit_vector: tuple[float, float, float]
    #: Key of the craniotomy, as in ``craniotomy_00``; None in a dry run, or where none matches.
    craniotomy: str | None = None
    status: Status = Status.NOT_SENT

    def to_json(self) -> str:
        """Return the update as JSON."""
        return json_text(asdict(self), indent=2) + "\n"


def update_surgery_json(
    meta: Mapping[str, Any] | ImagingMetadata,
    normal_vector: NDArray[np.float64] | Sequence[float],
    subject: str,
    client: AlyxClient | None = None,
    *,
    is_phantom: bool = False,
) -> SurgeryUpdate:
    """Add the surface normal at the window's centre to the craniotomy in the subject's JSON.

    The craniotomy is taken from the newest craniotomy surgery, and must have the centre of the metadata. Other
    entries of the subject's copy are kept.

    Parameters
    ----------
    meta
        Imaging metadata, or the content of their file; the window's centre (``centerMM``) is used.
    normal_vector
        (3,), unit vector: ML, AP, DV.
    subject
        Nickname in Alyx.
    client
        Alyx client; None for a dry run.
    is_phantom
        Whether the normal is that of the phantom.

    Raises
    ------
    LocationError
        If the vector is not a unit vector.
    MetadataError
        If the metadata have no centre.
    GateError
        If a normal of the phantom were to be sent.

    Warns
    -----
    MesoWarning
        If Alyx has no craniotomy of this centre; nothing is sent then.
    """
    normal = np.asarray(normal_vector, dtype=np.float64)
    if normal.shape != (3,) or not np.isclose(np.linalg.norm(normal), 1, atol=1e-6):
        raise LocationError.at(
            subject,
            field="normal_vector",
            expected="a unit vector of ML, AP and DV",
            found=np.array2string(normal, threshold=6),
            remedy="Give the inward or outward normal divided by its length",
        )
    window = as_window_center(meta)
    ml, ap, dv = (float(v) for v in normal)
    update = SurgeryUpdate(subject, (window.ml_mm, window.ap_mm), (ml, ap, dv))
    if client is None:
        return update
    if is_phantom:
        raise GateError.at(
            subject,
            field="atlas",
            expected="a normal in a real atlas",
            found="a normal in the phantom",
            remedy="Set MESO_ATLAS to mri_toronto or allen and locate the fields of view again",
        )
    plan = plan_craniotomy(update, client)
    if not plan.records:
        return update
    (sent,) = carry_out(plan, client).records
    return replace(update, craniotomy=sent.name, status=STATUS_OF[sent.action])


def plan_craniotomy(update: SurgeryUpdate, client: AlyxClient, session: str = "", eid: str = "") -> Plan:
    """Look for the craniotomy of this centre, and tell what would change in the subject's JSON; nothing is sent.

    A craniotomy that is not there is no conflict: the plan is empty then, and a remark says so.

    Parameters
    ----------
    update
        As :func:`update_surgery_json` builds it without a client.
    client
        Alyx client.
    session, eid
        What the plan is called: path and id of the session.

    Warns
    -----
    MesoWarning
        If Alyx has no craniotomy of this centre.
    """
    held = held_craniotomies(client, update.subject)
    noted, subject = held
    key = next((k for k, v in noted.items() if k.startswith("craniotomy") and _has_center(v, update.center)), None)
    records: tuple[Planned, ...] = ()
    remarks: tuple[str, ...] = ()
    if key is None:
        found = "only craniotomies at other places" if noted else "no craniotomy"
        told = (
            f"{update.subject}: expected a craniotomy at ML, AP {update.center} mm in Alyx, found {found}; "
            "the surface normal was not sent. Enter the surgery in Alyx, then run this again."
        )
        warnings.warn(told, MesoWarning, stacklevel=3)
        remarks = (told,)
    else:
        records = (_planned(update, key, noted[key], subject),)
    state = state_digest(held)
    return Plan(Part.CRANIOTOMY, session or update.subject, eid, records, state, remarks, subject=update.subject)


def _planned(update: SurgeryUpdate, key: str, noted: Mapping[str, Any], subject: Mapping[str, Any]) -> Planned:
    held = subject.get(key)
    own = held if isinstance(held, Mapping) else {}
    entry = {**own, **noted, NORMAL_KEY: list(update.surface_normal_unit_vector)}
    if held == entry:
        return Planned(Kind.CRANIOTOMY, key, Action.NOTHING, update.subject)
    changes = tuple(
        Change(f"{key}.{name}", own.get(name), value) for name, value in entry.items() if own.get(name) != value
    )
    return Planned(Kind.CRANIOTOMY, key, Action.CHANGE, update.subject, changes, {"json": {**subject, key: entry}})


def _has_center(entry: object, center: tuple[float, float]) -> bool:
    try:
        return isinstance(entry, Mapping) and bool(np.allclose(entry["center"], center))
    except (KeyError, TypeError, ValueError):
        return False
