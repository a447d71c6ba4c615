"""Datasets sent in batches, one per collection, each checked before it leaves and when its answer is there.

What belongs here: ``/register-file`` and the flags of its file records. What does not: which files are sent
(``datasets``). The server takes lists of unequal length and drops what is beyond the shortest without a word, so a
batch is made of whole records, and the answer must name each file. Batches of a session follow each other: the server
makes a file twice where two requests for it meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import AlyxError
from ..plan import Action, Change, Kind, Plan, Planned, Sent
from ..server.answers import AnswerLostError, RefusedError
from ..server.client import AlyxClient, address

#: Most files of one request.
_MOST_FILES = 200


@dataclass(frozen=True, slots=True)
class Batch:
    """Files of one collection."""

    records: tuple[Planned, ...]

    def payload(self, plan: Plan, user: str) -> dict[str, Any]:
        """Return what is sent; each list has one value per file."""
        first = self.records[0].payload

        def column(name: str) -> list[Any]:
            return [record.payload[name] for record in self.records]

        return {
            "created_by": user,
            "path": first["session_path"],
            "filenames": column("path"),
            "hashes": column("hash"),
            "filesizes": column("filesize"),
            "versions": column("version"),
            # left out, it would be reset
            "qc": column("qc"),
            "name": plan.repository,
            "labs": first["labs"],
            "exists": True,
            "server_only": False,
            "default": True,
            # the plan knows what is protected; asked here, the server would refuse new revisions too
            "check_protected": False,
        }


def batches(records: Iterable[Planned]) -> tuple[Batch, ...]:
    """Group the datasets that are to be sent by collection, in the order of the plan."""
    groups: dict[str, list[Planned]] = {}
    for record in records:
        if record.kind is Kind.DATASET and record.is_work:
            groups.setdefault(str(record.payload["collection"]), []).append(record)
    return tuple(
        Batch(tuple(some[start : start + _MOST_FILES]))
        for some in groups.values()
        for start in range(0, len(some), _MOST_FILES)
    )


def send_datasets(plan: Plan, client: AlyxClient) -> list[Sent]:
    """Send the datasets of a plan, and correct which files the server believes to exist.

    Raises
    ------
    AlyxError
        If the server refuses a batch, or does not answer for each file of it.
    """
    server, sent = address(client), dict[str, Sent]()
    patches = [record for record in plan.records if record.kind is Kind.FILE_RECORD]
    for batch in batches(plan.records):
        for record, row in zip(batch.records, _post(batch, plan, client), strict=True):
            sent[record.name] = Sent.of(record, str(row["id"]), server)
            patches += [missing_file(record.name, file) for file in _not_there(row, plan.repository)]
    for record in plan.records:
        if record.kind is Kind.DATASET and not record.is_work:
            sent[record.name] = Sent.of(record, str(record.id), server)
    for patch in patches:
        client.rest("files", "partial_update", id=patch.id, data=dict(patch.payload))
    corrected = [Sent.of(patch, str(patch.id), server) for patch in patches]
    return [*(sent[r.name] for r in plan.records if r.kind is Kind.DATASET), *corrected]


def missing_file(path: str, file: Mapping[str, Any]) -> Planned:
    """Plan to tell the server that a file exists that it takes for missing, by its file record."""
    change = Change("exists", False, True)
    return Planned(Kind.FILE_RECORD, path, Action.CHANGE, str(file["id"]), (change,), {"exists": True})


def _post(batch: Batch, plan: Plan, client: AlyxClient) -> Sequence[Mapping[str, Any]]:
    try:
        rows: list[Mapping[str, Any]] = client.rest(
            "register-file", "create", data=batch.payload(plan, client.user or "")
        )
    except AnswerLostError as error:
        error.records = tuple(record.ref for record in batch.records)
        raise
    except RefusedError as error:
        raise RefusedError.of(
            f"{plan.session}, {batch.records[0].payload['collection'] or 'the session itself'}",
            error.status,
            error.detail,
            "Enter in Alyx what is missing there. Files before that one are registered; the next run sends the rest",
        ) from error
    found = [str(row.get("name")) for row in rows]
    wanted = [str(record.payload["path"]).rpartition("/")[2] for record in batch.records]
    if found != wanted:
        missing = sorted(set(wanted) - set(found)) or wanted
        raise AlyxError.at(
            plan.session,
            expected=f"an answer for each of {len(wanted)} files",
            found=f"{len(found)} answers; missing: {', '.join(missing[:10])}",
            remedy="Look whether the server is Alyx 3.6 or later; then run this again",
        )
    return rows


def _not_there(row: Mapping[str, Any], repository: str) -> list[Mapping[str, Any]]:
    """File records of ours that the server still takes for missing: with the same hash it keeps an old flag."""
    return [
        file for file in row.get("file_records", ()) if file["data_repository"] == repository and not file["exists"]
    ]
