"""From the bytes of a request to what it says."""

from __future__ import annotations

import email
import json
from email.message import Message as Part
from typing import Any
from urllib.parse import parse_qsl

from .refusals import RefusalError, refuse
from .transport import Message

Files = dict[str, tuple[str, bytes]]


def parsed(message: Message) -> tuple[dict[str, Any], Files]:
    """Fields and files of a request: JSON, or a form."""
    kind = message.header("Content-Type") or ""
    if kind.startswith("multipart"):
        return _form(kind, message.body)
    if kind.startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(message.body.decode())), {}
    if not message.body or message.body == b"null":
        return {}, {}
    try:
        content = json.loads(message.body)
    except ValueError as error:
        refuse(400, f"JSON parse error - {error}")
    return (content, {}) if isinstance(content, dict) else refuse(400, "Invalid data. Expected a dictionary.")


def _form(kind: str, body: bytes) -> tuple[dict[str, Any], Files]:
    message = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    data: dict[str, Any] = {}
    files: Files = {}
    for part in message.get_payload():
        assert isinstance(part, Part)
        name = str(part.get_param("name", header="content-disposition"))
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        if (file_name := part.get_filename()) is not None:
            files[name] = (file_name, content)
        else:
            data[name] = content.decode()
    if "json" in data:
        try:
            data["json"] = json.loads(data["json"])  # of a form; text in a JSON body stays text
        except ValueError:
            raise RefusalError(400, {"json": ["Value must be valid JSON."]}) from None
    return data, files
