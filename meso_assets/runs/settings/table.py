"""The table of all settings in the README, made from the settings themselves.

What belongs here: how they are shown. What they mean is said where they are declared (``settings``).
"""

from __future__ import annotations

from pydantic.fields import FieldInfo

from .engines import EngineSettings
from .settings import MesoSettings
from .variables import variable_of


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
