"""``meso status``: sessions × assets.

What takes long to load is imported in the functions: another process, which asks Dagster, shall begin before.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meso_core.counting import counted
from meso_core.errors import StorageError
from meso_core.json_text import json_text
from meso_core.machine import in_haste
from meso_core.progress import Progress, silent, throttled

from .choice import chooses_sessions, say, wanted

if TYPE_CHECKING:
    from meso_core.session import Survey
    from meso_core.storage import SessionRoots

    from ..runs.choosing import Wanted
    from ..runs.settings.settings import MesoSettings
    from ..runs.status.cells import AssetStatus, SessionCells
    from ..runs.status.dagster_records import Ask

#: Words of a table that are shorter than those of the records.
_SHORT = {"missing": "–", "not applicable": "n/a"}
#: So many sessions are looked at in no time.
_FEW = 20


@click.command("status")
@chooses_sessions
@click.option("--json", "as_json", is_flag=True, help="Print records instead of a table.")
@click.option("--watch", "every_s", type=click.FloatRange(min=1), metavar="SECONDS", help="Look again and again.")
def command(
    sessions: tuple[str, ...], states: tuple[str, ...], since: datetime | None, as_json: bool, every_s: float | None
) -> None:
    """Show for each session which assets are done, partial, stale, failed, missing, pending or withheld, and why.

    SESSIONS (names, subjects, patterns, folders) are all sessions below MESO_ROOT, unless some are named. Folders that
    look like sessions and are none are listed with the reason.

    On a terminal that is too narrow for the table, a session has a line with what is not done; in a file or a pipe the
    table is always there, and each reason on one line.
    """
    while True:
        with in_haste():
            text = _told(sessions, states, since, as_json=as_json)
        if every_s:
            click.clear()
        click.echo(text)
        if not every_s:
            return
        time.sleep(every_s)


def _told(sessions: tuple[str, ...], states: tuple[str, ...], since: datetime | None, *, as_json: bool) -> str:
    from ..runs.status.dagster_records import asked_beside

    if _are_whole(sessions):
        settings, chosen = _settings(), wanted(sessions, states, since)
        found, survey, n_there = _named_in_full(settings, chosen)
    else:
        with asked_beside() as ask:
            settings, chosen = _settings(), wanted(sessions, states, since)
            found, survey, n_there = _looked_at(settings, chosen, ask)
    passed_over = [
        ("unreadable" if passed in survey.unreachable else "passed over", passed.path, passed.reason)
        for passed in (() if chosen.texts else survey.passed_over)
    ]
    if as_json:
        records = [{"session": one.session, **cell.as_record()} for one in found for cell in one.cells]
        records += [_record(path, state, reason) for state, path, reason in passed_over]
        records += [_record(one.session, "remark", text) for one in found for text in one.all_remarks]
        return json_text(records, indent=1)
    from .tables import terminal_width

    width = terminal_width()
    parts = [_table(found, width), *_reasons(found, passed_over, width)]
    parts += _reports(found, settings.store())
    parts.append(_totals(found, n_there, settings))
    return "\n".join(parts)


def _are_whole(sessions: tuple[str, ...]) -> bool:
    """Whether sessions are named in full: a few, which are not to be looked for."""
    from meso_core.session import named_session

    return bool(sessions) and all(named_session(text) for text in sessions)


def _settings() -> MesoSettings:
    from ..runs.settings.settings import load_settings

    return load_settings()


def _looked_at(settings: MesoSettings, chosen: Wanted, ask: Ask) -> tuple[tuple[SessionCells, ...], Survey, int]:
    """Look at the sessions that are meant; returns also what a walk over the roots found, and how many are there."""
    from ..runs.choosing import named_sessions, standing_as_asked, with_twice
    from ..runs.status.status import sessions_there, status_beside

    store = settings.store()
    survey = store.survey()
    there = with_twice(sessions_there(lambda: ask().registered, survey), survey, chosen)
    keys = named_sessions(store.roots, chosen, there)
    every = status_beside(settings, ask, keys, survey=survey, progress=_heard(len(keys)))
    return standing_as_asked(every, chosen), survey, len(there)


def _named_in_full(settings: MesoSettings, chosen: Wanted) -> tuple[tuple[SessionCells, ...], Survey, int]:
    """Look at sessions that need not be looked for."""
    from meso_core.session import Survey
    from meso_core.storage import meant_session

    from ..runs.choosing import named_sessions, standing_as_asked
    from ..runs.instance import open_instance
    from ..runs.status.status import status_of

    store = settings.store()
    survey = Survey(tuple(dict.fromkeys(meant_session(store, text) for text in chosen.texts)), ())
    keys = named_sessions(store.roots, chosen, survey.sessions)
    with open_instance(settings) as instance:
        every = status_of(settings, instance, keys, survey=survey, progress=_heard(len(keys)))
    return standing_as_asked(every, chosen), survey, len(survey.sessions)


def _heard(n_sessions: int) -> Progress:
    return throttled(say) if n_sessions > _FEW else silent


def _table(found: Sequence[SessionCells], width: int | None = None) -> str:
    from ..defs.catalogue import CATALOGUE
    from .tables import in_width, text_table

    if not found:
        return ""
    head = [("session",), *(tuple(asset.split("_")) for asset in CATALOGUE)]
    rows = [(one.session, *(_SHORT.get(cell.state.value, cell.state.value) for cell in one.cells)) for one in found]
    table = text_table(head, rows)
    if width is None or max(map(len, table.splitlines())) <= width:
        return table + "\n"
    return "\n".join(in_width(_by_state(one), width, head=f"{one.session}  ") for one in found) + "\n"


def _by_state(one: SessionCells) -> str:
    """Say of a session how many results are done, and name the others by state, those that want a person first."""
    from ..runs.status.cells import GRAVEST_FIRST, State

    named: dict[State, list[str]] = {}
    for cell in one.cells:
        named.setdefault(cell.state, []).append(cell.asset)
    quiet = [f"{len(named[state])} {state.value}" for state in (State.DONE, State.NOT_APPLICABLE) if state in named]
    others = [
        f"{state.value}: {'all' if len(named[state]) == len(one.cells) else ', '.join(named[state])}"
        for state in GRAVEST_FIRST
        if state in named
    ]
    return "; ".join([*quiet, *others])


def _reasons(
    found: Sequence[SessionCells], passed_over: Sequence[tuple[str, str, str]] = (), width: int | None = None
) -> list[str]:
    from ..runs.status.cells import State
    from .tables import in_width

    # what makes a whole session unreadable is told once
    told = dict.fromkeys(
        (f"{one.session}  {'' if c.state is State.UNREADABLE else f'{c.asset} '}", _state_and_why(c))
        for one in found
        for c in one.cells
        if c.why
    )
    reasons = [
        *told,
        *((f"{one.session}  ", text) for one in found for text in one.all_remarks),
        *((f"{state}: {path}: ", why) for state, path, why in passed_over),
    ]
    lines = [in_width(text, width, head=head) for head, text in reasons]
    return ["\n".join(lines) + "\n"] if lines else []


def _state_and_why(cell: AssetStatus) -> str:
    """Say a state and its reason; a reason that begins with the state says both."""
    return cell.why if cell.why.startswith(cell.state.value) else f"{cell.state.value}: {cell.why}"


def _reports(found: Sequence[SessionCells], store: SessionRoots) -> list[str]:
    """Say where the reports of a few sessions are."""
    from meso_core.session import SessionKey

    from ..defs.reporting import REPORT_FILE

    made = [SessionKey.parse(one.key) for one in found if any(REPORT_FILE in cell.shown for cell in one.cells)]
    if not made or len(found) > _FEW:
        return []
    return ["\n".join(f"report: {store.store_of(key).where(key, REPORT_FILE)}" for key in made) + "\n"]


def _totals(found: Sequence[SessionCells], n_there: int, settings: MesoSettings) -> str:
    """Sum up, and say what the disk can do."""
    root = settings.store().root
    if not n_there:
        told = f"no session below {root}; a session is at [lab/Subjects/]subject/YYYY-MM-DD/NNN"
    else:
        counts = Counter(one.standing for one in found)
        told = f"{len(found):,} of " if len(found) < n_there else ""
        told += counted(n_there, "session")
        told += ": " + ", ".join(f"{n} {word}" for word, n in sorted(counts.items())) if counts else ""
    folders = [folder for folder in settings.roots if isinstance(folder, Path)]
    return "\n".join([told, *(f"disk of {folder}: {_disk(folder)}" for folder in folders)])


def _disk(folder: Path) -> str:
    """Say what the disk can do. That is tried by writing, so it is not known where this user may only read."""
    from meso_core.storage import file_system_of

    try:
        return str(file_system_of(folder))
    except StorageError as error:
        why = getattr(error.__cause__, "strerror", None) or error.__cause__
        return f"not known, because nothing can be written there ({why})"


def _record(session: str, state: str, why: str) -> dict[str, Any]:
    """Give a remark the form of a record of an asset, which it is not about."""
    return {"session": session, "asset": "", "state": state, "why": why, "published_at": ""}
