"""``meso preflight``: whether sessions can be processed, and what that takes, before anything begins."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from meso_core.errors import MesoError
from meso_core.json_text import json_text
from meso_core.qc import Verdict

from ..runs.settings.settings import load_settings
from .choice import say
from .tables import needs_table, text_table

if TYPE_CHECKING:
    from meso_core.imaging import Preflight

    from ..defs.needs import NeedsRow

_WORDS = {Verdict.PASS: "well", Verdict.WARNING: "warning", Verdict.FAIL: "CANNOT BE"}


@click.command("preflight")
@click.argument("sessions", nargs=-1, required=True)
@click.option("--assets", default="", help="Names, with commas between them; all by default.")
@click.option("--json", "as_json", is_flag=True, help="Print records instead of a table.")
def command(sessions: tuple[str, ...], assets: str, as_json: bool) -> None:
    """Tell whether SESSIONS can be processed, and what that takes.

    Room on the disk, memory, frames against pulses against metadata, bouts that agree; the time from earlier
    runs; cores, memory and minutes of each step.

    Ends with 1 if one cannot be. `meso run` and the steps that take long ask the same, and refuse such a session.
    """
    from ..defs.needs import needs_rows
    from ..defs.preflight import Flight, look_ahead
    from ..defs.standing.standings import look_at
    from ..io.resources import Platform
    from ..runs.choosing import Wanted, named_sessions
    from ..runs.instance import open_instance
    from ..runs.run import chosen_assets

    settings = load_settings()
    platform = Platform.open(settings)
    chosen = chosen_assets(tuple(name.strip() for name in assets.split(",") if name.strip()))
    keys = named_sessions(platform.store.roots, Wanted(sessions), platform.store.sessions())
    found, unread = [], []
    rows: dict[str, tuple[NeedsRow, ...]] = {}
    with open_instance(settings) as instance:
        for key in keys:
            try:
                seen = look_at(platform.at(key))
                flight = Flight(platform, instance, seen, chosen, {})
                found.append(ahead := look_ahead(flight))
                rows[ahead.session] = needs_rows(flight, ahead)
            except MesoError as error:
                unread.append(f"{key}: {error}")
    if as_json:
        click.echo(json_text([r for one in found for r in _records(one, rows[one.session])], indent=1))
    else:
        click.echo(_told(found, rows))
    for text in unread:
        say(text)
    if unread or any(one.errors for one in found):
        sys.exit(1)


def _told(found: list[Preflight], needs: Mapping[str, tuple[NeedsRow, ...]]) -> str:
    rows = [
        (one.session, r.check, _WORDS[r.verdict], "see below" if r.verdict is Verdict.FAIL else r.message)
        for one in found
        for r in one.results
    ]
    table = [text_table(("session", "check", "verdict", "what was found"), rows), ""] if rows else []
    return "\n".join(
        [
            *table,
            *(f"{one.session} cannot be processed: {error}" for one in found for error in one.errors),
            *(_takes(one, needs[one.session]) for one in found if not one.errors),
        ]
    )


def _takes(one: Preflight, rows: tuple[NeedsRow, ...]) -> str:
    takes = f"{one.session} takes {one.estimate}"
    return f"{takes}; its steps need\n\n{needs_table(rows)}\n" if rows else takes


def _records(one: Preflight, rows: tuple[NeedsRow, ...]) -> list[dict[str, object]]:
    estimate = {
        "room_bytes": one.estimate.room_bytes,
        "memory_bytes": one.estimate.memory_bytes,
        "seconds": one.estimate.seconds,
    }
    checks: list[dict[str, object]] = [
        {"session": one.session, "check": r.check, "verdict": r.verdict.name, "value": r.value, "message": r.message}
        for r in one.results
    ]
    needs: list[dict[str, object]] = [
        {"session": one.session, "check": "needs", "verdict": None, "step": row.step, "n": row.n, **asdict(row.needs)}
        for row in rows
    ]
    return [*checks, {"session": one.session, "check": "estimate", "verdict": None, **estimate}, *needs]
