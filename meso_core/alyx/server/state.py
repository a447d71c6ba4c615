"""What the server holds of each part of a session, and the digest by which a plan knows that it still holds.

What belongs here: reading. What does not: comparing with what is known here (one module per kind of record).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..plan import Part, Plan, state_digest
from .client import AlyxClient, listed, whole

#: Records of the server that decide whether a plan still holds.
_OF_FOV = ("id", "name", "stack", "json")
_OF_LOCATION = ("id", "provenance", "x", "y", "z", "n_xyz", "brain_region", "default_provenance", "coordinate_system")
_OF_DATASET = ("url", "name", "collection", "revision", "hash", "file_size", "version", "qc", "protected")
_OF_FILE = ("id", "data_repository", "exists")


def state_now(plan: Plan, client: AlyxClient) -> str:
    """Digest of what the server holds now of the part that a plan is about."""
    if plan.part is Part.FOVS:
        return fov_state(held_fovs(client, plan.eid))
    if plan.part is Part.CRANIOTOMY:
        return state_digest(held_craniotomies(client, plan.subject))
    if plan.part is Part.SESSION_QC:
        return quality_state(held_quality(client, plan.eid))
    if plan.part in (Part.SNAPSHOTS, Part.REPORT_NOTE):
        return note_state(held_notes(client, plan.eid))
    return dataset_state(held_datasets(client, plan.eid))


def held_fovs(client: AlyxClient, eid: str) -> list[Mapping[str, Any]]:
    """Return the fields of view that the server holds of a session, each with its locations, by name."""
    rows = listed(client, "fields-of-view", session=eid)
    fovs = [whole(client, "fields-of-view", row, "location", "stack", "json") for row in rows]
    return sorted(fovs, key=lambda row: (str(row["name"]), str(row["id"])))


def fov_state(rows: Sequence[Mapping[str, Any]]) -> str:
    """Digest of what the server holds of the fields of view."""

    def location(row: Mapping[str, Any]) -> dict[str, Any]:
        chosen = {name: row.get(name) for name in _OF_LOCATION}
        return {**chosen, "brain_region": sorted(chosen["brain_region"] or ())}

    return state_digest(
        [
            {
                **{name: row.get(name) for name in _OF_FOV},
                "location": sorted(map(location, row["location"]), key=lambda one: str(one["id"])),
            }
            for row in rows
        ]
    )


def newest_craniotomies(client: AlyxClient, subject: str) -> Mapping[str, Any]:
    """Return the JSON of the newest surgery of a subject that is a craniotomy; empty where there is none."""
    surgeries = listed(client, "surgeries", subject=subject, procedure="craniotomy")
    noted = whole(client, "surgeries", surgeries[0], "json")["json"] if surgeries else None
    return noted if isinstance(noted, dict) else {}


def held_craniotomies(client: AlyxClient, subject: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the JSON of the newest craniotomy of a subject, and that of the subject, as the server holds them."""
    noted = newest_craniotomies(client, subject)
    if not noted:
        return {}, {}
    held = whole(client, "subjects", {"id": subject}, "json")["json"]
    return noted, held if isinstance(held, dict) else {}


def held_notes(client: AlyxClient, eid: str) -> list[Mapping[str, Any]]:
    """Return the notes that the server holds of a session."""
    rows = listed(client, "notes", django=f"object_id,{eid}")
    return [whole(client, "notes", row, "json", "text") for row in rows]


def note_state(rows: Sequence[Mapping[str, Any]]) -> str:
    """Digest of what the server holds of the notes."""
    return state_digest(sorted([str(row["id"]), str(row.get("text")), sha256_of_note(row) or ""] for row in rows))


def sha256_of_note(row: Mapping[str, Any]) -> str | None:
    """Hash of the picture of a note, as meso writes it into the note's JSON; None for notes of others."""
    digest = _own_json(row).get("sha256")
    return digest if isinstance(digest, str) else None


def report_of_note(row: Mapping[str, Any]) -> str:
    """Picture of a note that holds the report of a session, as meso writes it; empty for all other notes."""
    report = _own_json(row).get("report")
    return report if isinstance(report, str) and sha256_of_note(row) else ""


def _own_json(row: Mapping[str, Any]) -> Mapping[str, Any]:
    content = row.get("json")
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except ValueError:
            return {}
    return content if isinstance(content, dict) else {}


def held_quality(client: AlyxClient, eid: str) -> Mapping[str, Any]:
    """Return what the server holds of the quality of a session: ``qc`` and ``extended_qc``."""
    row = whole(client, "sessions", {"id": eid}, "qc", "extended_qc")
    return {name: row[name] for name in ("qc", "extended_qc")}


def quality_state(held: Mapping[str, Any]) -> str:
    """Digest of what the server holds of the quality of a session."""
    return state_digest(dict(held))


def held_datasets(client: AlyxClient, eid: str) -> list[Mapping[str, Any]]:
    """Return the datasets that the server holds of a session, each with its file records."""
    rows = listed(client, "datasets", session=eid)
    return [whole(client, "datasets", row, "hash", "qc", "protected", "file_records") for row in rows]


def dataset_state(rows: Sequence[Mapping[str, Any]]) -> str:
    """Digest of what the server holds of the datasets."""
    chosen = [
        {
            **{name: row.get(name) for name in _OF_DATASET},
            "file_records": sorted(([file.get(name) for name in _OF_FILE] for file in row["file_records"]), key=str),
        }
        for row in rows
    ]
    return state_digest(sorted(chosen, key=lambda row: str(row["url"])))
