"""Imaging stacks, fields of view, and their locations."""

from __future__ import annotations

from typing import Any, ClassVar

from .fields import Field, anything, boolean, by_id, by_name, choice, many, numbers, regions, text
from .refusals import RefusalError, refuse
from .resource import Filter, Request, Resource, same
from .tables import Record, Tables

PROVENANCES = {"E": "Estimate", "F": "Functional", "L": "Landmark", "H": "Histology"}
SHORT = ("id", "provenance", "coordinate_system", "x", "y", "z", "n_xyz", "default_provenance", "brain_region")


def locations_of(tables: Tables, fov: Record) -> list[Record]:
    """The short form of all locations of a field of view, the default first."""
    held = sorted(tables["fov-location"].where(field_of_view=fov["id"]), key=lambda r: not r["default_provenance"])
    return [{name: record[name] for name in SHORT} for record in held]


def fov_nested(tables: Tables, fov: Record) -> Record:
    """A field of view as it stands in its session."""
    return {
        **{name: fov[name] for name in ("id", "name", "imaging_type", "stack")},
        "location": locations_of(tables, fov),
    }


def descendants(tables: Tables, column: str, value: str) -> set[int]:
    """Ids of the region whose column has this value, and of all that lie in it."""
    wanted = {r["id"] for r in tables["brain-regions"] if str(r[column]).lower() == value.lower()}
    grown = True
    while grown:
        more = {r["id"] for r in tables["brain-regions"] if r["parent"] in wanted} - wanted
        wanted |= more
        grown = bool(more)
    return {int(key) for key in wanted}


class Stacks(Resource):
    """Names may be given twice, and nothing is changed or deleted: a stack that is not used stays."""

    endpoint, model = "imaging-stack", "ImagingStack"
    one_methods = ("GET",)
    fields: ClassVar[dict[str, Field]] = {"name": Field(text(), required=True), "json": Field(anything, null=True)}

    def row(self, record: Record, request: Request) -> Record:
        return {"id": record["id"], "slices": self._slices(record)}

    def detail(self, record: Record, request: Request) -> Record:
        return {**self.row(record, request), "name": record["name"], "json": record["json"]}

    def _slices(self, record: Record) -> list[Record]:
        held = self.tables["fields-of-view"].where(stack=record["id"])
        return [fov_nested(self.tables, fov) for fov in sorted(held, key=lambda f: f["name"])]


def _in_region(column: str) -> Any:
    def test(tables: Tables, record: Record, value: str) -> bool:
        wanted = descendants(tables, column, value)
        held = tables["fov-location"].where(field_of_view=record["id"])
        return any(r["default_provenance"] and wanted & set(r["brain_region"]) for r in held)

    return test


def _of_session(column: str) -> Any:
    return lambda tables, record, value: str(tables["sessions"].get(record["session"])[column]) == value


class FieldsOfView(Resource):
    endpoint, model = "fields-of-view", "FOV"
    fields: ClassVar[dict[str, Field]] = {
        "session": Field(by_id("sessions"), required=True),
        "imaging_type": Field(by_name("imaging-types")),
        "name": Field(text(), required=True),
        "stack": Field(by_id("imaging-stack"), null=True),
        "json": Field(anything, null=True),
        "datasets": Field(many(by_id("datasets"))),
    }
    filters: ClassVar[dict[str, Filter]] = {
        "id": same("id"),
        "session": same("session"),
        "name": same("name"),
        "imaging_type": same("imaging_type"),
        "stack": same("stack"),
        "subject": _of_session("subject"),
        "experiment_number": lambda tables, r, value: tables["sessions"].get(r["session"])["number"] == int(value),
        "lab": _of_session("lab"),
        "date": lambda tables, r, value: tables["sessions"].get(r["session"])["start_time"][:10] == value,
        "atlas_acronym": _in_region("acronym"),
        "atlas_name": _in_region("name"),
        "atlas_id": _in_region("id"),
    }
    unique = (("session", "name"),)

    def candidates(self, query: dict[str, str]) -> Any:
        known("session", self.tables["sessions"], query)
        known("stack", self.tables["imaging-stack"], query)
        return self.table.where(session=query["session"]) if "session" in query else self.table

    def detail(self, record: Record, request: Request) -> Record:
        return {
            "id": record["id"],
            **{name: record[name] for name in ("session", "name", "imaging_type", "stack", "json")},
            "location": locations_of(self.tables, record),
            "datasets": list(record["datasets"] or ()),
        }

    def ordered(self, records: Any) -> list[Record]:
        return sorted(records, key=lambda r: r["name"])

    def check(self, values: Record, old: Record | None) -> None:
        if values["imaging_type"] is None:
            refuse(500, "FOV has no imaging_type.")

    def _unique(self, values: Record, old: Record | None) -> None:
        super()._unique(values, old)
        if values["stack"] is not None:
            slices = self.tables["fields-of-view"].where(stack=values["stack"])
            if any(other["session"] != values["session"] for other in slices if other is not old):
                refuse(500, "Stack fields of view must belong to the same session")

    def settled(self, record: Record) -> None:
        """Tie all datasets of the session whose collection holds the name."""
        held = self.tables["datasets"].where(session=record["session"])
        tied = [d["id"] for d in held if record["name"] in d["collection"]]
        record["datasets"] = list(dict.fromkeys([*(record["datasets"] or ()), *tied]))

    def before_delete(self, record: Record) -> None:
        for location in self.tables["fov-location"].where(field_of_view=record["id"]):
            self.tables["fov-location"].remove(location)


class Locations(Resource):
    """Lengths of lists are not checked; the flag of the default goes to whichever takes it last."""

    endpoint, model = "fov-location", "FOVLocation"
    fields: ClassVar[dict[str, Field]] = {
        "field_of_view": Field(by_id("fields-of-view"), required=True),
        "provenance": Field(choice(*PROVENANCES), required=True),
        "x": Field(numbers, required=True),
        "y": Field(numbers, required=True),
        "z": Field(numbers, required=True),
        "n_xyz": Field(lambda t, value: [int(v) for v in numbers(t, value)], required=True),
        "coordinate_system": Field(by_name("coordinate-systems")),
        "brain_region": Field(regions, default=()),
        "default_provenance": Field(boolean, default=False),
        "json": Field(anything, null=True),
    }
    filters: ClassVar[dict[str, Filter]] = {
        "id": same("id"),
        "field_of_view": same("field_of_view"),
        "provenance": lambda _t, r, value: PROVENANCES[r["provenance"]].lower() == value.lower(),
        "default_provenance": lambda _t, r, value: str(r["default_provenance"]).lower() == value.lower(),
        "coordinate_system": same("coordinate_system"),
        "brain_region": lambda _t, r, value: int(value) in r["brain_region"],
    }
    unique = (("field_of_view", "provenance"),)

    def candidates(self, query: dict[str, str]) -> Any:
        known("field_of_view", self.tables["fields-of-view"], query)
        known("brain_region", self.tables["brain-regions"], query)
        if {"x", "y", "z", "n_xyz"} & set(query):
            refuse(500, "unsupported lookup")
        if query.get("provenance") in PROVENANCES:
            refuse(500, f"Invalid provenance {query['provenance']}")
        held = query.get("field_of_view")
        return self.table.where(field_of_view=held) if held else self.table

    def row(self, record: Record, request: Request) -> Record:
        return {name: list(v) if isinstance(v := record[name], tuple) else v for name in SHORT}

    def detail(self, record: Record, request: Request) -> Record:
        return {**self.row(record, request), "field_of_view": record["field_of_view"], "json": record["json"]}

    def ordered(self, records: Any) -> list[Record]:
        return sorted(records, key=lambda r: not r["default_provenance"])

    def check(self, values: Record, old: Record | None) -> None:
        if values["coordinate_system"] is None:
            refuse(500, "FOVLocation has no coordinate_system.")

    def settled(self, record: Record) -> None:
        if record["default_provenance"]:
            for other in self.table.where(field_of_view=record["field_of_view"]):
                other["default_provenance"] = other is record


def known(name: str, table: Any, query: dict[str, str]) -> None:
    """Refuse a filter by a related record that there is not."""
    if name in query and query[name] not in table:
        raise RefusalError(400, {name: ["Select a valid choice. That choice is not one of the available choices."]})


ALL = (Stacks, FieldsOfView, Locations)
