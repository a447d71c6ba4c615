"""The files of a session as datasets of Alyx: what is registered, under which revision, and what is not.

What belongs here: comparing published files with the server's datasets. What does not: sending (``batches``).

A published file is known by its md5, which its manifest holds, so that no file is read here. A dataset that the server
protects is never overwritten: the file gets a revision, named as ONE names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from ...errors import AlyxError, SettingsError
from ...json_text import json_text
from ...qc import QCResult, Verdict, worst
from ...session import SessionKey
from ...storage import Manifest
from ..plan import Action, Change, Kind, Part, Plan, Planned
from ..sending.batches import missing_file
from ..server.client import AlyxClient, HeldSession, find_session, listed, record_id
from ..server.state import dataset_state, held_datasets
from .dataset_names import FileRules, left_out

#: Verdict → quality as Alyx names it.
_QC = {Verdict.PASS: "PASS", Verdict.WARNING: "WARNING", Verdict.FAIL: "FAIL"}
NOT_SET = "NOT_SET"
_LONGEST_VERSION = 64
_FIRST_LETTER, _LAST_LETTER = ord("a"), ord("z")


@dataclass(frozen=True, slots=True)
class OwnFile:
    """A published file of a session."""

    #: Below the session.
    path: str
    #: Bytes.
    size: int
    md5: str
    #: Asset that made it.
    asset: str
    #: Of meso.
    version: str
    #: Quality as Alyx names it, from the verdicts on its asset.
    qc: str = NOT_SET

    @property
    def collection(self) -> str:
        """Folder below the session; empty for a file in the session itself."""
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """What of a session is registered, and what is not."""

    session: str
    files: tuple[OwnFile, ...]
    #: Path → why it is not registered.
    left_out: Mapping[str, str]
    #: Asset → why its files may not be sent.
    withheld: Mapping[str, str] = field(default_factory=dict)
    #: Assets that are not made.
    not_made: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the files as JSON."""
        body = {
            "session": self.session,
            "datasets": [asdict(file) for file in self.files],
            "left_out": dict(sorted(self.left_out.items())),
            "withheld": dict(sorted(self.withheld.items())),
            "not_made": list(self.not_made),
        }
        return json_text(body, indent=1) + "\n"


def own_files(
    session: str, manifests: Iterable[Manifest], verdicts: Mapping[str, Sequence[QCResult]] | None = None
) -> OwnFiles:
    """Collect the published files of a session that are datasets.

    Parameters
    ----------
    session
        Short path of the session.
    manifests
        What assets have published.
    verdicts
        Asset → stored verdicts.
    """
    files, out = [], {}
    for manifest in manifests:
        code = manifest.made_by.code.version or manifest.made_by.packages.get("meso", "")
        asked = (verdicts or {}).get(manifest.asset, ())
        qc = _QC[worst(tuple(asked))] if asked else NOT_SET
        for file in manifest.files:
            if why := left_out(file.path):
                out[file.path] = why
            else:
                version = code[:_LONGEST_VERSION]
                files.append(OwnFile(file.path, file.size, file.md5, manifest.asset, version, qc))
    return OwnFiles(session, tuple(sorted(files, key=lambda one: one.path)), out)


def plan_datasets(own: OwnFiles, client: AlyxClient, *, repository: str, today: str) -> Plan:
    """Compare the files of a session with the datasets that Alyx holds; nothing is sent.

    Parameters
    ----------
    own
        Files of the session.
    client
        Alyx client.
    repository
        Name of the data repository on which the files lie.
    today
        Date (ISO) by which new revisions are named.

    Raises
    ------
    SettingsError
        If no repository is named, or Alyx does not have it.
    AlyxError
        If Alyx does not hold the session, or holds it twice.
    """
    key = SessionKey.parse(own.session)
    _check_repository(client, repository)
    held_session = find_session(client, key)
    rows = held_datasets(client, held_session.eid)
    by_place: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        by_place.setdefault((str(row.get("collection") or ""), str(row["name"])), []).append(row)
    rules = FileRules.of(listed(client, "dataset-types"), listed(client, "data-formats"))
    planned: list[Planned] = []
    for file in own.files:
        some = by_place.get((file.collection, file.name), [])
        planned += _planned(file, some, rules, _Target(held_session, key, repository, today))
    return Plan(
        Part.DATASETS,
        held_session.name,
        held_session.eid,
        tuple(planned),
        dataset_state(rows),
        (*own.withheld.values(), *(f"{asset} is not made: run it, and then this again" for asset in own.not_made)),
        subject=held_session.subject,
        repository=repository,
    )


@dataclass(frozen=True, slots=True)
class _Target:
    session: HeldSession
    key: SessionKey
    repository: str
    today: str


def _planned(file: OwnFile, rows: list[Mapping[str, Any]], rules: FileRules, to: _Target) -> list[Planned]:
    if why := rules.why_unknown(file.path):
        return [Planned(Kind.DATASET, file.path, Action.CONFLICT, payload=_payload(file, to, "", NOT_SET), why=why)]
    newest_first = sorted(rows, key=_revision, reverse=True)
    if twice := _twice(newest_first):
        return [Planned(Kind.DATASET, file.path, Action.CONFLICT, payload=_payload(file, to, "", NOT_SET), why=twice)]
    if not newest_first:
        return [Planned(Kind.DATASET, file.path, Action.CREATE, payload=_payload(file, to, "", file.qc))]
    newest = newest_first[0]
    record, revision = record_id(newest), _revision(newest)
    kept = str(newest.get("qc") or NOT_SET)
    ours = [one for one in newest.get("file_records", ()) if one["data_repository"] == to.repository]
    if newest.get("hash") == file.md5:
        # a quality that a person gave survives
        payload = _payload(file, to, revision, kept if kept != NOT_SET else file.qc)
        if not ours and not newest.get("protected"):
            change = Change("repository", [one["data_repository"] for one in newest["file_records"]], to.repository)
            return [Planned(Kind.DATASET, file.path, Action.CHANGE, record, (change,), payload)]
        return [
            Planned(Kind.DATASET, file.path, Action.NOTHING, record, payload=payload),
            *(missing_file(file.path, one) for one in ours if not one["exists"]),
        ]
    changes = tuple(
        Change(field, newest.get(field), value)
        for field, value in (("hash", file.md5), ("file_size", file.size), ("version", file.version), ("qc", file.qc))
        if newest.get(field) != value
    )
    if not newest.get("protected"):
        # what was said of the old content says nothing of the new one
        payload = _payload(file, to, revision, file.qc)
        return [Planned(Kind.DATASET, file.path, Action.CHANGE, record, changes, payload)]
    new = next_revision(to.today, [_revision(row) for row in rows])
    why = f"revision {new}, since the dataset on the server is protected"
    return [Planned(Kind.DATASET, file.path, Action.CREATE, None, changes, _payload(file, to, new, file.qc), why=why)]


def _payload(file: OwnFile, to: _Target, revision: str, qc: str) -> dict[str, Any]:
    folder = "/".join(filter(None, [file.collection, f"#{revision}#" if revision else ""]))
    return {
        # with the lab in front the server refuses it
        "session_path": f"{to.key.subject}/{to.key.date}/{to.key.number}",
        "labs": to.session.lab,
        "collection": file.collection,
        "path": f"{folder}/{file.name}" if folder else file.name,
        "hash": file.md5,
        "filesize": file.size,
        "version": file.version,
        "qc": qc,
    }


def _twice(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say which datasets are one too many; the server fails on every later registration of such a file."""
    for first, second in pairwise(rows):
        if _revision(first) == _revision(second):
            ids = ", ".join(record_id(row) for row in rows if _revision(row) == _revision(first))
            return f"the server has it more than once ({ids}): delete all but one of these datasets in Alyx"
    return ""


def next_revision(today: str, reserved: Iterable[str]) -> str:
    """Name a revision that is not taken yet, as ONE does: the day, and then with a letter behind it.

    Raises
    ------
    AlyxError
        If all letters of the day are taken.

    Examples
    --------
    >>> next_revision("2024-05-01", ["", "2024-05-01", "2024-05-01a"])
    '2024-05-01b'
    """
    taken = set(reserved)
    for name in (today, *(today + chr(letter) for letter in range(_FIRST_LETTER, _LAST_LETTER + 1))):
        if name not in taken:
            return name
    raise AlyxError.at(
        today,
        field="revision",
        expected="less than 27 revisions of a dataset in one day",
        found=f"{len(taken)}",
        remedy="Run this again tomorrow, or take the protection of the last revision away in Alyx",
    )


def _revision(row: Mapping[str, Any]) -> str:
    return str(row.get("revision") or "")


def _check_repository(client: AlyxClient, repository: str) -> None:
    names = [str(row["name"]) for row in listed(client, "data-repository")]
    if repository not in names:
        shown = ", ".join(sorted(names)[:20]) or "none"
        raise SettingsError.at(
            "MESO_ALYX_REPOSITORY",
            expected=f"one of the data repositories of the server: {shown}",
            found=repr(repository) if repository else "nothing",
            remedy="Set it to the repository on which the files lie, or enter that repository in Alyx",
        )
