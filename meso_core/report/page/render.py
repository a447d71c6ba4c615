"""From the parts of a page to its text.

What belongs here: jinja2, the templates and what they may call. What does not: what is on the page.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ...json_text import json_text
from ...qc import QCResult, check_of
from .parts import NOT_JUDGED, SIGNS

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:  # noqa: ANN401  of any part
    """Fill a template of this package; what is not markup of ours is escaped."""
    return _environment().get_template(template).render(**values)


@lru_cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("meso_core.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(sign=_sign, markup=Markup, data=_data, number=number, words=_words, commands=_commands)
    environment.filters.update(
        unit=lambda name: check_of(name).unit, how_to_read=lambda name: check_of(name).how_to_read
    )
    return environment


def number(value: float | int | str | None) -> str:
    """Write a number for a person; what is not known is a dash."""
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _sign(result: QCResult) -> tuple[str, str, str]:
    return NOT_JUDGED if result.is_open else SIGNS[result.verdict]


def _words(check: str) -> str:
    """Write the name of a check as words: ``frames_match_pulses`` → ``frames match pulses``."""
    return check.replace("_", " ")


def _commands(text: str) -> Any:  # noqa: ANN401  markup
    """Set what stands between backticks, as commands in messages do, as code."""
    from markupsafe import Markup, escape

    parts = str(text).split("`")
    if len(parts) % 2 == 0:  # one of them is no mark
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts))


def _data(value: object) -> Any:  # noqa: ANN401  markup
    """Write JSON that may stand inside a script element."""
    from markupsafe import Markup

    return Markup(json_text(value, nulls=True).replace("<", "\\u003c"))
