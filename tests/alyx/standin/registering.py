"""``/register-file`` and ``/check-protected``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Any

from .datasets import files_of, is_protected
from .fields import QC
from .refusals import RefusalError, refuse
from .resource import Request
from .tables import Record, Tables


@dataclass
class Behaviour:
    """How this server differs from one that answers one request after the other; switched by a test."""

    #: Called between looking a dataset up and making it, while other requests are let in, as several workers do.
    in_parallel: Callable[[], object] | None = None


def register_files(tables: Tables, request: Request, behaviour: Behaviour) -> list[Record]:
    """Register each file, one after the other: what was registered before a failure stays."""
    data = request.data
    if not data.get("path"):
        refuse(500, "The path argument is required.")
    user = data.get("created_by") or request.user
    if user not in tables["users"]:
        refuse(500, "LabMember matching query does not exist.")
    named = _named_repository(tables, data)
    session, prefix = _session(tables, data["path"])
    repositories = _repositories(tables, data, named, session)
    batch = _batch(data)
    if data.get("check_protected") and (details := _details(tables, session, prefix, [f.name for f in batch])):
        raise RefusalError(403, {"error": "One or more datasets is protected", "details": details})
    answers = []
    for file in batch:
        dataset = _upsert(tables, session, prefix, file, user, data, behaviour)
        _settle_files(tables, dataset, prefix, file, named, repositories, exists=data.get("exists", True))
        _tie(tables, dataset)
        answers.append(_answer(tables, session, dataset))
    return answers


def check_protected(tables: Tables, request: Request) -> Record:
    """HTTP 200 in either case; the status is inside."""
    data = {**request.query, **request.data}
    try:
        session, prefix = _session(tables, data["path"])
    except RefusalError:
        refuse(500, "Session matching query does not exist.")
    details = _details(tables, session, prefix, _listed(data["filenames"]), also_free=True)
    held = any(free for file in details for revisions in file.values() for r in revisions for free in r.values())
    if held:
        return {"status_code": 403, "error": "One or more datasets is protected", "details": details}
    return {"status_code": 200, "details": details}


@dataclass(frozen=True)
class _File:
    name: str
    hash: str | None
    size: Any
    version: str | None
    qc: Any


def _listed(value: Any) -> list[Any]:
    return value.split(",") if isinstance(value, str) else list(value or ())


def _batch(data: Record) -> list[_File]:
    """Files with what was said of each; where a list is shorter than the others, the files beyond are dropped."""
    names = _listed(data.get("filenames"))
    columns = []
    for key, one_for_all in (("hashes", False), ("filesizes", False), ("versions", True), ("qc", True)):
        values = _listed(data.get(key))
        if not values:
            values = [None] * len(names)
        elif one_for_all and len(values) == 1:
            values = values * len(names)
        columns.append(values)
    return [_File(*parts) for parts in zip(names, *columns, strict=False)]


def _named_repository(tables: Tables, data: Record) -> Record | None:
    if name := data.get("name"):
        found = tables["data-repository"].get(name)
    elif host := data.get("hostname"):
        found = tables["data-repository"].first(lambda r: r["hostname"] == host)
    else:
        return None
    return found or refuse(400, "The requested data repository does not exist.")


def _session(tables: Tables, path: str) -> tuple[Record, str]:
    """The session of a path, and the collection that follows in it."""
    match = re.fullmatch(r"([\w-]+)/(\d{4}-\d{2}-\d{2})/(\d+)(?:/(.+?))?/?", path.strip("/"))
    if not match:
        raise RefusalError(400, {"error": f"The path {path} should be subject/date/number[/collection]"})
    subject, date, number, collection = match.groups()
    if subject not in tables["subjects"]:
        refuse(400, f"Subject {subject} does not exist")
    held = [s for s in tables["sessions"].where(subject=subject) if (s["start_time"] or "")[:10] == date]
    if not held:
        raise RefusalError(400, {"error": f"A base session for {subject} on {date} does not exist"})
    held = [s for s in held if s["number"] == int(number)]
    if not held:
        refuse(400, f"A session for {subject} on {date} with number {number} does not exist")
    return held[0], f"{subject}/{date}/{number}" + (f"/{collection}" if collection else "")


def _repositories(tables: Tables, data: Record, named: Record | None, session: Record) -> list[Record]:
    labs = _listed(data.get("labs")) or [session["lab"]]
    if any(lab not in tables["labs"] for lab in labs):
        raise RefusalError(400, {"error": "One or more labs do not exist"})
    names = [name for lab in labs for name in tables["labs"].get(lab)["repositories"]]
    names = list(dict.fromkeys([*names, *([named["name"]] if named else [])]))
    held = [tables["data-repository"].get(name) for name in names]
    return [r for r in held if not data.get("server_only") or r["globus_is_personal"] is False]


def _place(prefix: str, name: str) -> tuple[str, str, str]:
    """Collection, revision and name; an odd character ends the collection, which is then that of the parent."""
    path = PurePosixPath(prefix, name)
    folders = list(path.parts[3:-1])
    revision = ""
    marked = [i for i, part in enumerate(folders) if part.startswith("#")]
    if marked:
        if marked[0] != len(folders) - 1:
            raise RefusalError(400, {"error": f"Invalid ALF path: folders below a revision in {name}"})
        revision = folders.pop().strip("#")
    plain = []
    for part in folders:
        if not re.fullmatch(r"[\w.-]+", part):
            break
        plain.append(part)
    return "/".join(plain), revision, path.name


def _dataset_type(tables: Tables, name: str) -> str:
    by_pattern = [
        t for t in tables["dataset-types"] if t["filename_pattern"] and fnmatch(name.lower(), t["filename_pattern"])
    ]
    parts = re.fullmatch(r"(?:_[a-zA-Z0-9]+_)?([^.]+)\.(_[a-z]+_)?([^._]+)[^.]*\..+", name)
    by_name = tables["dataset-types"].get(f"{parts[1]}.{parts[2] or ''}{parts[3]}") if parts else None
    if by_name is None and len(by_pattern) != 1:
        refuse(500, f"No dataset type found for filename `{name}`")
    return str((by_name or by_pattern[0])["name"])


def _data_format(tables: Tables, name: str) -> str:
    held = [f for f in tables["data-formats"] if name.endswith(f["file_extension"])]
    if not held:
        refuse(500, "DataFormat matching query does not exist.")
    return str(max(held, key=lambda f: len(f["file_extension"]))["name"])


def _of_file(tables: Tables, session: Record, collection: str, name: str) -> list[Record]:
    """Datasets of all revisions of a file, the newest first."""
    held = tables["datasets"].where(session=session["id"], collection=collection, name=name)
    return sorted(held, key=lambda d: d["revision"], reverse=True)


def _details(
    tables: Tables, session: Record, prefix: str, names: list[str], *, also_free: bool = False
) -> list[dict[str, Any]]:
    """Per file, which revisions of it are protected; nothing where none is, unless that is asked."""
    details = []
    for name in names:
        collection, _, base = _place(prefix, name)
        held = _of_file(tables, session, collection, base)
        details.append({name: [{d["revision"]: is_protected(tables, d)} for d in held]})
    held_back = any(v for file in details for revisions in file.values() for r in revisions for v in r.values())
    return details if held_back or also_free else []


def _upsert(
    tables: Tables, session: Record, prefix: str, file: _File, user: str, data: Record, behaviour: Behaviour
) -> Record:
    collection, revision, name = _place(prefix, file.name)
    values: Record = {
        "dataset_type": _dataset_type(tables, name),
        "data_format": _data_format(tables, name),
        "created_by": user,
        "qc": _verdict(file.qc),
        "default": data.get("default", True),
    }
    held = [d for d in _of_file(tables, session, collection, name) if d["revision"] == revision]
    if len(held) > 1:
        refuse(500, f"get() returned more than one Dataset -- it returned {len(held)}!")
    if held and is_protected(tables, held[0]):
        raise RefusalError(403, {"error": f"Dataset {held[0]['id']} is protected, cannot patch"})
    for key, value in (("hash", file.hash), ("version", file.version)):
        if value is not None and len(str(value)) > 64:
            detail = f"Ensure this value has at most 64 characters (it has {len(str(value))})."
            raise RefusalError(400, {"detail": {key: [detail]}})
    sent = {"hash": file.hash, "version": file.version, "file_size": file.size}
    sent = {key: value for key, value in sent.items() if value is not None}
    if not str(sent.get("file_size", 0)).isdigit():
        refuse(500, f"Field 'file_size' expected a number but got '{file.size}'.")
    sent |= {"file_size": int(sent["file_size"])} if "file_size" in sent else {}
    if revision and revision not in tables["revisions"]:
        tables["revisions"].add(name=revision, description="")
    if behaviour.in_parallel:
        tables.lock.release()
        try:
            behaviour.in_parallel()
        finally:
            tables.lock.acquire()
    if held:
        dataset = held[0]
        changed = file.hash is None or dataset["hash"] != file.hash
        tables["datasets"].change(dataset, **values, **sent)
    else:
        changed = True
        empty = {"hash": None, "version": None, "file_size": None, "json": None, "tags": []}
        place = {"session": session["id"], "collection": collection, "name": name, "revision": revision}
        dataset = tables["datasets"].add(**empty, **values, **place, auto_datetime="2024-01-01T00:00:00")
        dataset.update(sent)
    dataset["changed"] = changed
    if dataset["default"]:
        for other in _of_file(tables, session, collection, name):
            other["default"] = other is dataset
    return dataset


def _settle_files(
    tables: Tables,
    dataset: Record,
    prefix: str,
    file: _File,
    named: Record | None,
    repositories: list[Record],
    *,
    exists: bool,
) -> None:
    """One file record a repository; where the hash is as it was, the flags of the records stay too."""
    path = str(PurePosixPath(prefix, file.name))
    for repository in repositories:
        held = tables["files"].where(dataset=dataset["id"], data_repository=repository["name"], relative_path=path)
        there = bool(exists) and repository is named
        if not held:
            place = {"dataset": dataset["id"], "data_repository": repository["name"], "relative_path": path}
            tables["files"].add(**place, exists=there, json=None)
        elif dataset["changed"]:
            held[0]["exists"] = there
    del dataset["changed"]


def _tie(tables: Tables, dataset: Record) -> None:
    """Tie the dataset to the field of view named like the second folder of its collection."""
    folders = dataset["collection"].split("/")
    if len(folders) > 1:
        for fov in tables["fields-of-view"].where(session=dataset["session"], name=folders[1]):
            fov["datasets"] = list(dict.fromkeys([*(fov["datasets"] or ()), dataset["id"]]))


def _verdict(value: Any) -> str:
    if value in (None, ""):
        return "NOT_SET"
    for name, number in QC.items():
        if str(value).upper() == name or str(value) == str(number):
            return name
    raise RefusalError(400, {"error": f"Invalid QC value {value}"})


def _answer(tables: Tables, session: Record, dataset: Record) -> Record:
    plain = (
        "id",
        "name",
        "file_size",
        "created_by",
        "dataset_type",
        "data_format",
        "collection",
        "revision",
        "default",
    )
    return {
        **{name: dataset[name] for name in plain},
        "subject": session["subject"],
        "session": session["id"],
        "session_number": session["number"],
        "session_users": ",".join(session["users"]),
        "session_start_time": session["start_time"],
        "qc": QC[dataset["qc"]],
        "file_records": files_of(tables, dataset),
    }
