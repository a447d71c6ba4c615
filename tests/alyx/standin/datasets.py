"""Datasets and their file records: reading and changing them. ``registering`` makes them."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, ClassVar

from .fields import Field, anything, as_uuid, boolean, by_id, by_name, integer, many, qc, text
from .imaging import known
from .refusals import refuse
from .resource import Filter, Request, Resource, same
from .tables import Record, Tables


def is_protected(tables: Tables, dataset: Record) -> bool:
    return any(tables["tags"].get(name)["protected"] for name in dataset["tags"])


def data_url(tables: Tables, file: Record) -> str | None:
    """Address of a file: that of its repository, and the path with the dataset's id in front of the extension."""
    prefix = tables["data-repository"].get(file["data_repository"])["data_url"]
    if not prefix:
        return None
    path = PurePosixPath(file["relative_path"])
    named = path.with_name(f"{path.stem}.{file['dataset']}{path.suffix}")
    return f"{prefix}{named}"


def files_of(tables: Tables, dataset: Record) -> list[Record]:
    """File records of a dataset, as they stand in it."""
    return [
        {
            "id": file["id"],
            "data_repository": file["data_repository"],
            "data_repository_path": tables["data-repository"].get(file["data_repository"])["globus_path"],
            "relative_path": file["relative_path"],
            "data_url": data_url(tables, file),
            "exists": file["exists"],
        }
        for file in tables["files"].where(dataset=dataset["id"])
    ]


def nested_in_session(tables: Tables, session: Record, request: Request) -> list[Record]:
    """Datasets in a session's record; only those on a server repository, once there is any such repository."""
    servers = {r["name"] for r in tables["data-repository"] if r["globus_is_personal"] is False}
    rows = []
    for dataset in tables["datasets"].where(session=session["id"]):
        files = tables["files"].where(dataset=dataset["id"])
        if servers:
            files = [file for file in files if file["exists"] and file["data_repository"] in servers]
            if not files:
                continue
        urls = [address for file in files if (address := data_url(tables, file))]
        rows.append(
            {
                **{name: dataset[name] for name in ("id", "name", "dataset_type", "file_size", "hash", "version")},
                **{name: dataset[name] for name in ("collection", "revision", "qc")},
                "data_url": urls[0] if urls else None,
                "url": f"{request.root}/datasets/{dataset['id']}",
                "default_revision": str(dataset["default"]),
            }
        )
    return sorted(rows, key=lambda row: (row["collection"], row["name"]))


def _of_session(column: str) -> Any:
    return lambda tables, record, value: str(tables["sessions"].get(record["session"])[column]) == value


def _exists(tables: Tables, record: Record, value: str) -> bool:
    there = any(file["exists"] for file in tables["files"].where(dataset=record["id"]))
    return str(there).lower() == value.lower()


class Datasets(Resource):
    endpoint, model = "datasets", "Dataset"
    fields: ClassVar[dict[str, Field]] = {
        "name": Field(text(), default=""),
        "created_by": Field(by_name("users", "username"), null=True),
        "dataset_type": Field(by_name("dataset-types"), default=None),
        "data_format": Field(by_name("data-formats"), default=None),
        "collection": Field(text(), default=""),
        "revision": Field(text(), default=""),
        "session": Field(by_id("sessions"), null=True),
        "file_size": Field(integer, null=True),
        "hash": Field(text(at_most=64), null=True),
        "version": Field(text(at_most=64), null=True),
        "tags": Field(many(by_name("tags")), default=()),
        "default": Field(boolean, default=True),
        "qc": Field(qc, default="NOT_SET"),
        "json": Field(anything, null=True),
    }
    filters: ClassVar[dict[str, Filter]] = {
        "id": same("id"),
        "session": same("session"),
        "name": same("name"),
        "collection": same("collection"),
        "dataset_type": same("dataset_type"),
        "revision": same("revision"),
        "hash": same("hash"),
        "version": same("version"),
        "created_by": same("created_by"),
        "subject": _of_session("subject"),
        "lab": _of_session("lab"),
        "experiment_number": lambda tables, r, value: tables["sessions"].get(r["session"])["number"] == int(value),
        "date": lambda tables, r, value: tables["sessions"].get(r["session"])["start_time"][:10] == value,
        "exists": _exists,
        "protected": lambda tables, r, value: str(is_protected(tables, r)).lower() == value.lower(),
        "tag": lambda _t, r, value: value in r["tags"],
    }

    def candidates(self, query: dict[str, str]) -> Any:
        known("session", self.tables["sessions"], query)
        return self.table.where(session=query["session"]) if "session" in query else self.table

    def find(self, key: str) -> Record:
        return super().find(as_uuid(key))

    def detail(self, record: Record, request: Request) -> Record:
        session = self.tables["sessions"].get(record["session"])
        plain = ("name", "created_by", "dataset_type", "data_format", "collection", "file_size", "hash", "version")
        return {
            "url": f"{request.root}/datasets/{record['id']}",
            **{name: record[name] for name in (*plain, "revision", "qc", "json", "auto_datetime")},
            "session": f"{request.root}/sessions/{record['session']}" if session else None,
            "subject": session["subject"] if session else None,
            "experiment_number": session["number"] if session else None,
            "tags": list(record["tags"]),
            "default_dataset": record["default"],
            "protected": is_protected(self.tables, record),
            "public": False,
            "file_records": files_of(self.tables, record),
        }

    def make(self, values: Record, request: Request) -> Record:
        return super().make({"auto_datetime": "2024-01-01T00:00:00", **values}, request)

    def before_delete(self, record: Record) -> None:
        if is_protected(self.tables, record):
            refuse(403, "Cannot delete dataset with a protected tag")
        for file in self.tables["files"].where(dataset=record["id"]):
            self.tables["files"].remove(file)
        for fov in self.tables["fields-of-view"].where(session=record["session"]):
            fov["datasets"] = [key for key in fov["datasets"] or () if key != record["id"]]


class Files(Resource):
    endpoint, model = "files", "FileRecord"
    fields: ClassVar[dict[str, Field]] = {
        "dataset": Field(by_id("datasets"), required=True),
        "data_repository": Field(by_name("data-repository"), required=True),
        "relative_path": Field(text(), required=True),
        "exists": Field(boolean, default=False),
        "json": Field(anything, null=True),
    }
    filters: ClassVar[dict[str, Filter]] = {
        "id": same("id"),
        "dataset": same("dataset"),
        "data_repository": same("data_repository"),
        "relative_path": same("relative_path"),
        "exists": lambda _t, r, value: str(r["exists"]).lower() == value.lower(),
        "session": lambda tables, r, value: tables["datasets"].get(r["dataset"])["session"] == value,
    }
    unique = (("data_repository", "relative_path"),)

    def find(self, key: str) -> Record:
        return super().find(as_uuid(key))

    def detail(self, record: Record, request: Request) -> Record:
        return {
            "id": record["id"],
            "url": f"{request.root}/files/{record['id']}",
            **{name: record[name] for name in ("data_repository", "relative_path", "exists", "json")},
            "dataset": f"{request.root}/datasets/{record['dataset']}",
            "data_url": data_url(self.tables, record),
        }


ALL = (Datasets, Files)
