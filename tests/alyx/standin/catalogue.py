"""Endpoints of what a lab enters once: labs, repositories, projects, users, subjects, surgeries, types, regions."""

from __future__ import annotations

from typing import Any, ClassVar

from .fields import Field, anything, boolean, by_name, choice, many, moment, text, url
from .refusals import RefusalError, not_found, refuse
from .resource import Filter, Named, Request, Resource, any_case, holds, same
from .tables import Record

JSON = Field(anything, null=True)
TEXT = Field(text(), default="")


class Labs(Named):
    endpoint, model = "labs", "Lab"
    fields: ClassVar[dict[str, Field]] = {
        "name": Field(text(r"\w+"), required=True),
        "institution": TEXT,
        "address": TEXT,
        "timezone": Field(text(), default="Europe/London"),
        "repositories": Field(many(by_name("data-repository")), default=()),
        "json": JSON,
    }
    filters: ClassVar[dict[str, Filter]] = {"name": same("name")}

    def detail(self, record: Record, request: Request) -> Record:
        return {**super().detail(record, request), "repositories": list(record["repositories"])}


class Repositories(Named):
    endpoint, model = "data-repository", "DataRepository"
    fields: ClassVar[dict[str, Field]] = {
        "name": Field(text(), required=True),
        "timezone": TEXT,
        "globus_path": TEXT,
        "hostname": TEXT,
        "data_url": Field(url, null=True),
        "repository_type": Field(by_name("repository-types"), null=True),
        "globus_endpoint_id": Field(text(), null=True),
        "globus_is_personal": Field(boolean, null=True),
        "json": JSON,
    }
    filters: ClassVar[dict[str, Filter]] = {
        "name": same("name"),
        "hostname": same("hostname"),
        "globus_is_personal": lambda _t, record, value: str(record["globus_is_personal"]) == value,
    }


class Projects(Named):
    endpoint, model = "projects", "Project"
    fields: ClassVar[dict[str, Field]] = {
        "name": Field(text(), required=True),
        "description": TEXT,
        "users": Field(many(by_name("users", "username"))),
    }

    def check(self, values: Record, old: Record | None) -> None:
        super().check(values, old)
        if values["users"] is None:
            refuse(500, "'users'")


class Users(Resource):
    endpoint, model = "users", "LabMember"
    list_methods, one_methods = ("GET",), ("GET",)
    fields: ClassVar[dict[str, Field]] = {"username": Field(text()), "email": TEXT}

    def detail(self, record: Record, request: Request) -> Record:
        return {"id": record["id"], "username": record["username"], "email": "", "lab": [], "is_active": True}


class Subjects(Resource):
    """A subject in full has its genotype as objects; in a list as texts, and only alleles of its line."""

    endpoint, model = "subjects", "Subject"
    fields: ClassVar[dict[str, Field]] = {
        "nickname": Field(text(r"[A-Za-z0-9_-]+"), required=True),
        "lab": Field(by_name("labs"), required=True),
        "projects": Field(many(by_name("projects")), default=()),
        "responsible_user": Field(by_name("users", "username")),
        "species": Field(text(), null=True),
        "strain": Field(text(), null=True),
        "line": Field(by_name("lines"), null=True),
        "sex": Field(choice("M", "F", "U"), default="U"),
        "birth_date": Field(moment, null=True),
        "death_date": Field(moment, null=True),
        "description": TEXT,
        "json": JSON,
    }
    filters: ClassVar[dict[str, Filter]] = {
        "nickname": same("nickname"),
        "lab": same("lab"),
        "project": holds("projects"),
    }

    def detail(self, record: Record, request: Request) -> Record:
        return {
            "id": record["id"],
            "url": f"{request.root}/subjects/{record['nickname']}",
            **super().detail(record, request),
            "genotype": [{"allele": allele, "zygosity": zygosity} for allele, zygosity in record.get("genotype", ())],
            "alive": True,
            "actions_sessions": [],
            "weighings": [],
            "water_administrations": [],
        }

    def row(self, record: Record, request: Request) -> Record:
        line = self.tables["lines"].get(record["line"])
        known = line["alleles"] if line else ()
        listed = {**self.detail(record, request)}
        for name in ("json", "actions_sessions", "weighings", "water_administrations"):
            del listed[name]
        signs = {0: "-/-", 1: "+/-", 2: "+/+", 3: "+"}
        listed["genotype"] = [f"{a} {signs[z]}" for a, z in record.get("genotype", ()) if a in known]
        return listed

    def make(self, values: Record, request: Request) -> Record:
        if "genotype" in request.data:
            refuse(500, "Direct assignment to the reverse side of a many-to-many set is prohibited.")
        values["responsible_user"] = values["responsible_user"] or request.user
        held = self.table.get(values["nickname"])
        for names in (("nickname", "lab"), ("nickname", "responsible_user")):
            if held and all(held[name] == values[name] for name in names):
                raise RefusalError(
                    400, {"non_field_errors": [f"The fields {', '.join(names)} must make a unique set."]}
                )
        if held:
            refuse(500, "two subjects of one nickname: the stand-in keeps one")
        return super().make(values, request)


class Surgeries(Resource):
    endpoint, model = "surgeries", "Surgery"
    list_methods, one_methods = ("GET",), ("GET", "PUT", "PATCH")
    fields: ClassVar[dict[str, Field]] = {
        "subject": Field(by_name("subjects", "nickname"), required=True),
        "procedures": Field(many(by_name("procedures")), default=()),
        "users": Field(many(by_name("users", "username")), default=()),
        "start_time": Field(moment),
        "location": TEXT,
        "narrative": TEXT,
        "json": JSON,
    }
    filters: ClassVar[dict[str, Filter]] = {
        "subject": any_case("subject"),
        "procedure": lambda _t, record, value: value.lower() in {p.lower() for p in record["procedures"]},
    }

    def detail(self, record: Record, request: Request) -> Record:
        return {
            "id": record["id"],
            "name": f"surgery {record['subject']}",
            **super().detail(record, request),
            "procedures": list(record["procedures"]),
            "users": list(record["users"]),
        }

    def ordered(self, records: Any) -> list[Record]:
        return sorted(records, key=lambda r: r["start_time"], reverse=True)


class DatasetTypes(Named):
    endpoint, model = "dataset-types", "DatasetType"
    fields: ClassVar[dict[str, Field]] = {
        "name": Field(text(), required=True),
        "created_by": Field(by_name("users", "username"), null=True),
        "description": TEXT,
        "filename_pattern": Field(lambda _t, value: str(value).lower(), default=""),
    }

    def detail(self, record: Record, request: Request) -> Record:
        return {"id": record["id"], **super().detail(record, request)}


class DataFormats(Named):
    endpoint, model = "data-formats", "DataFormat"
    fields: ClassVar[dict[str, Field]] = {
        "name": Field(text(), required=True),
        "description": TEXT,
        "file_extension": Field(text(r"\.[^\s]+"), required=True),
        "matlab_loader_function": TEXT,
        "python_loader_function": TEXT,
    }

    def detail(self, record: Record, request: Request) -> Record:
        return {"id": record["id"], **super().detail(record, request)}


class Tags(Named):
    endpoint, model = "tags", "Tag"
    fields: ClassVar[dict[str, Field]] = {
        "name": Field(text(), required=True),
        "description": TEXT,
        "protected": Field(boolean, default=False),
        "public": Field(boolean, default=False),
        "hash": TEXT,
    }

    def detail(self, record: Record, request: Request) -> Record:
        return {"id": record["id"], **super().detail(record, request)}


class Revisions(Named):
    endpoint, model = "revisions", "Revision"
    fields: ClassVar[dict[str, Field]] = {"name": Field(text(), required=True), "description": TEXT}

    def detail(self, record: Record, request: Request) -> Record:
        return {"id": record["id"], **super().detail(record, request)}


class BrainRegions(Resource):
    endpoint, model = "brain-regions", "BrainRegion"
    list_methods, one_methods = ("GET",), ("GET", "PUT", "PATCH")
    fields: ClassVar[dict[str, Field]] = {"description": TEXT}
    filters: ClassVar[dict[str, Filter]] = {
        "acronym": any_case("acronym"),
        "name": any_case("name"),
        "id": same("id"),
        "parent": same("parent"),
        "ancestors": lambda tables, record, value: record in above(tables, value),
        "descendants": lambda tables, record, value: value in {a["acronym"] for a in above(tables, record["acronym"])},
    }

    def find(self, key: str) -> Record:
        return self.table.get(key) or not_found(self.model)

    def detail(self, record: Record, request: Request) -> Record:
        parent = record["parent"]
        return {
            "id": int(record["id"]),
            "acronym": record["acronym"],
            "name": record["name"],
            "parent": None if parent is None else int(parent),
            "description": record["description"],
            "related_descriptions": [],
        }

    def ordered(self, records: Any) -> list[Record]:
        return sorted(records, key=lambda r: r["acronym"])


def above(tables: Any, acronym: str) -> list[Record]:
    """A region and all that it lies in."""
    found = []
    region = tables["brain-regions"].first(lambda r: r["acronym"] == acronym)
    while region is not None:
        found.append(region)
        region = tables["brain-regions"].get(region["parent"])
    return found


ALL = (
    Labs,
    Repositories,
    Projects,
    Users,
    Subjects,
    Surgeries,
    DatasetTypes,
    DataFormats,
    Tags,
    Revisions,
    BrainRegions,
)
