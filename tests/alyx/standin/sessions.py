"""Sessions: none of their names is unique, and what they hold is nested in the record in full."""

from __future__ import annotations

from typing import Any, ClassVar

from .datasets import nested_in_session
from .fields import Field, anything, as_uuid, by_id, by_name, integer, many, moment, qc, text
from .imaging import descendants, fov_nested
from .resource import Filter, Request, Resource, any_case, holds, number, same
from .tables import Record, Tables

SHORT = ("subject", "start_time", "number", "lab", "projects", "task_protocol")


def _in_dates(_tables: Tables, record: Record, value: str) -> bool:
    first, _, last = value.partition(",")
    return first[:10] <= (record["start_time"] or "")[:10] <= last[:10]


def _in_region(column: str) -> Any:
    def test(tables: Tables, record: Record, value: str) -> bool:
        wanted = descendants(tables, column, value)
        return any(
            location["default_provenance"] and wanted & set(location["brain_region"])
            for fov in tables["fields-of-view"].where(session=record["id"])
            for location in tables["fov-location"].where(field_of_view=fov["id"])
        )

    return test


def _has(column: str) -> Any:
    def test(tables: Tables, record: Record, value: str) -> bool:
        return set(value.split(",")) <= {d[column] for d in tables["datasets"].where(session=record["id"])}

    return test


class Sessions(Resource):
    endpoint, model = "sessions", "Session"
    fields: ClassVar[dict[str, Field]] = {
        "subject": Field(by_name("subjects", "nickname"), required=True),
        "users": Field(many(by_name("users", "username"))),
        "location": Field(text(), null=True),
        "procedures": Field(many(by_name("procedures")), default=()),
        "lab": Field(by_name("labs")),
        "projects": Field(many(by_name("projects")), default=()),
        "type": Field(text(), null=True),
        "task_protocol": Field(text(), default=""),
        "number": Field(integer, null=True),
        "start_time": Field(moment),
        "end_time": Field(moment, null=True),
        "narrative": Field(text(), default=""),
        "parent_session": Field(by_id("sessions"), null=True),
        "n_correct_trials": Field(integer, null=True),
        "n_trials": Field(integer, null=True),
        "json": Field(anything, null=True),
        "qc": Field(qc, default="NOT_SET"),
        "extended_qc": Field(anything, null=True),
    }
    filters: ClassVar[dict[str, Filter]] = {
        "id": same("id"),
        "subject": any_case("subject"),
        "nickname": any_case("subject"),
        "date_range": _in_dates,
        "number": number("number"),
        "lab": same("lab"),
        "users": holds("users"),
        "projects": holds("projects"),
        "procedures": holds("procedures"),
        "qc": same("qc"),
        "type": same("type"),
        "task_protocol": lambda _t, record, value: value.lower() in (record["task_protocol"] or "").lower(),
        "datasets": _has("name"),
        "dataset_types": _has("dataset_type"),
        "atlas_acronym": _in_region("acronym"),
        "atlas_name": _in_region("name"),
        "atlas_id": _in_region("id"),
    }

    def row(self, record: Record, request: Request) -> Record:
        return {"id": record["id"], **{name: _plain(record[name]) for name in SHORT}, "url": self._url(record, request)}

    def detail(self, record: Record, request: Request) -> Record:
        fovs = self.tables["fields-of-view"].where(session=record["id"])
        notes = self.tables["notes"].where(object_id=record["id"])
        return {
            "id": record["id"],
            "url": self._url(record, request),
            **{name: _plain(record[name]) for name in self.fields},
            "auto_datetime": record["start_time"],
            "data_dataset_session_related": nested_in_session(self.tables, record, request),
            "field_of_view": [fov_nested(self.tables, fov) for fov in sorted(fovs, key=lambda f: f["name"])],
            "notes": [
                {name: note[name] for name in ("id", "user", "date_time", "text", "json", "image")} for note in notes
            ],
            "probe_insertion": [],
            "wateradmin_session_related": [],
        }

    def ordered(self, records: Any) -> list[Record]:
        return sorted(records, key=lambda r: (r["start_time"] or "", r["number"] or 0), reverse=True)

    def find(self, key: str) -> Record:
        return super().find(as_uuid(key))

    def make(self, values: Record, request: Request) -> Record:
        values["users"] = values["users"] or [request.user]
        values["lab"] = values["lab"] or self.tables["subjects"].get(values["subject"])["lab"]
        values["start_time"] = values["start_time"] or "2024-01-01T00:00:00"
        return super().make(values, request)

    def before_delete(self, record: Record) -> None:
        """All that the session holds goes with it, protected datasets too."""
        tables = self.tables
        for fov in tables["fields-of-view"].where(session=record["id"]):
            for location in tables["fov-location"].where(field_of_view=fov["id"]):
                tables["fov-location"].remove(location)
            tables["fields-of-view"].remove(fov)
        for dataset in tables["datasets"].where(session=record["id"]):
            for file in tables["files"].where(dataset=dataset["id"]):
                tables["files"].remove(file)
            tables["datasets"].remove(dataset)
        for note in tables["notes"].where(object_id=record["id"]):
            tables["notes"].remove(note)

    @staticmethod
    def _url(record: Record, request: Request) -> str:
        return f"{request.root}/sessions/{record['id']}"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


ALL = (Sessions,)
