"""Parts of the documentation that follow from the code; tests compare them with what stands there.

``python -c "from tests import made_docs; print(made_docs.settings_table())"`` makes one anew, to be put in its place.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic.fields import FieldInfo

from meso_assets.runs.settings.engines import EngineSettings
from meso_assets.runs.settings.settings import MesoSettings
from meso_assets.runs.settings.variables import variable_of
from meso_core.json_text import json_text
from meso_core.qc.check import Limit
from meso_core.qc.table import CHECKS
from meso_core.storage.manifests.manifest import MANIFEST_VERSION, _Body
from meso_core.storage.manifests.records import _SCALARS


def settings_table() -> str:
    """Markdown table of all settings, as the README shows it."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    fields = sorted(MesoSettings.model_fields.items(), key=lambda item: item[0] in EngineSettings.model_fields)
    for name, field in fields:  # those of engines last
        rows.append(f"| `{variable_of(name)}` | {_shown_default(field)} | {field.description} |")
    return "\n".join(rows)


def _shown_default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "–" if field.default_factory is dict else "the machine's"
    return "–" if field.default in (None, "") else f"`{field.default}`"


def checks_table() -> str:
    """Markdown table of all checks, with their usual limits, as ``docs/qc.md`` shows it."""
    rows = ["| check | speaks of | unit | look | bad | how to read it |", "| --- | --- | --- | --- | --- | --- |"]
    for row in CHECKS.values():
        look, bad = _ends(row.limit)
        rows.append(f"| `{row.name}` | `{row.asset}` | {row.unit or '–'} | {look} | {bad} | {row.how_to_read} |")
    return "\n".join(rows)


def _ends(limit: Limit | None) -> tuple[str, str]:
    if limit is None:
        return "–", "–"
    sign = "&lt;" if limit.is_low_bad else "&gt;"
    look, bad = (f"{sign} {end:g}" if end is not None else "–" for end in (limit.warning, limit.fail))
    return look, bad


def manifest_schema() -> str:
    """JSON Schema of a manifest of the present form, as text; comments (``#:``) of the fields are the descriptions."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Manifest of an asset of meso"}
    schema = {**head, **_schema(_Body)}
    schema["properties"]["manifest_version"]["const"] = MANIFEST_VERSION
    return json_text(schema, indent=1) + "\n"


def _schema(kind: Any) -> dict[str, Any]:
    if kind is Any:
        return {}
    if is_dataclass(kind) and isinstance(kind, type):
        hints, said = typing.get_type_hints(kind), _comments(kind)
        properties = {
            f.name: {**_schema(hints[f.name]), **({"description": said[f.name]} if f.name in said else {})}
            for f in fields(kind)
        }
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return {"type": "array", "items": _schema(inner[0])}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(inner[1])}
    named = [_SCALARS[one] for one in inner or (kind,)]
    return {"type": named if inner else named[0]}


def _comments(kind: type) -> dict[str, str]:
    """Comments (``#:``) of the fields of a dataclass."""
    found: dict[str, str] = {}
    lines: list[str] = []
    for line in inspect.getsource(kind).splitlines():
        text = line.strip()
        if text.startswith("#:"):
            lines.append(text[2:].strip())
        elif lines and (name := re.match(r"(\w+):", text)):
            found[name[1]] = " ".join(lines)
            lines = []
    return found
