"""Notes, with and without a picture."""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from typing import ClassVar

from .fields import Field, anything, as_uuid, by_name, text
from .refusals import RefusalError, refuse
from .resource import Filter, Request, Resource, same
from .tables import Record

#: What a note may be about: short name → the name in answers, and the table.
ABOUT = {
    "session": ("actions.session", "sessions"),
    "subject": ("subjects.subject", "subjects"),
    "dataset": ("data.dataset", "datasets"),
}
ABOUT |= {full: (full, table) for full, table in ABOUT.values()}


class Notes(Resource):
    endpoint, model = "notes", "Note"
    fields: ClassVar[dict[str, Field]] = {
        "user": Field(by_name("users", "username"), required=True),
        "date_time": Field(text(), default="2024-01-01T00:00:00"),
        "content_type": Field(text(), required=True),
        "object_id": Field(lambda _t, value: as_uuid(value), required=True),
        "text": Field(text(), default=""),
        "json": Field(anything, null=True),
    }
    filters: ClassVar[dict[str, Filter]] = {
        "id": same("id"),
        "user": same("user"),
        "object_id": same("object_id"),
        "text": same("text"),
    }

    def find(self, key: str) -> Record:
        return super().find(as_uuid(key))

    def detail(self, record: Record, request: Request) -> Record:
        shown = {name: record[name] for name in ("id", *self.fields)}
        image = f"{request.root}/uploaded/{record['image']}" if record["image"] else None
        return {**shown, "image": image, "content_type": ABOUT[record["content_type"]][0]}

    def make(self, values: Record, request: Request) -> Record:
        name, content = request.files.get("image", ("", None))
        if content is not None:
            _refuse_what_is_no_picture(content)
        self._refuse_what_there_is_not(values)
        values["image"] = f"notes/{_with_id(name, values['object_id'])}" if content is not None else None
        values["picture"] = (name, content) if content is not None else None
        values["width"] = request.data.get("width")
        note = super().make(values, request)
        if content is not None and values["width"] not in (None, "", "orig") and not str(values["width"]).isdigit():
            refuse(500, f"invalid literal for int() with base 10: '{values['width']}'")  # and the note stays
        return note

    def change(self, key: str, request: Request, *, partial: bool) -> Record:
        if not {"content_type", "object_id"} <= set(request.data):
            refuse(500, "'content_type'")
        return super().change(key, request, partial=partial)

    def _refuse_what_there_is_not(self, values: Record) -> None:
        if values["content_type"] not in ABOUT:
            refuse(500, "ContentType matching query does not exist.")
        _, table = ABOUT[values["content_type"]]
        if not self.tables[table].first(lambda r: r["id"] == values["object_id"]):
            refuse(500, f"{table} matching query does not exist.")


def _refuse_what_is_no_picture(content: bytes) -> None:
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise RefusalError(400, {"image": ["The submitted file is empty."]})
    try:
        Image.open(io.BytesIO(content)).verify()
    except (UnidentifiedImageError, SyntaxError, OSError):
        message = "Upload a valid image. The file you uploaded was either not an image or a corrupted image."
        raise RefusalError(400, {"image": [message]}) from None


def _with_id(name: str, object_id: str) -> str:
    path = PurePosixPath(name)
    return f"{path.stem}.{object_id}{path.suffix}"


ALL = (Notes,)
