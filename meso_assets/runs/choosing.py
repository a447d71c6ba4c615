"""Which sessions a person means, by name and by where they stand.

What belongs here: choosing among sessions. How they stand is found in ``status``. Nothing here loads Dagster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from meso_core.session import SessionKey, Survey, choose_sessions

from ..defs.catalogue import CATALOGUE
from .status.cells import SessionCells, State


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sessions a person asks for."""

    #: Names, subjects, patterns or paths; all sessions where there is none.
    texts: tuple[str, ...] = ()
    #: Only sessions of which one of ``assets`` stands so; any where this is empty.
    states: frozenset[State] = frozenset()
    #: Only sessions of this date or later, YYYY-MM-DD.
    since: str = ""
    #: Names of the catalogue that ``states`` is about; all where there is none.
    assets: tuple[str, ...] = ()


def named_sessions(roots: Sequence[str], wanted: Wanted, there: Sequence[SessionKey]) -> tuple[SessionKey, ...]:
    """Find the sessions that a person names, whatever they stand like.

    Parameters
    ----------
    roots
        The roots of sessions, as a person wrote them.
    wanted
        What is asked for.
    there
        All sessions.

    Raises
    ------
    MissingInputError
        If a text matches no session.
    """
    keys = choose_sessions(wanted.texts, there, *roots) if wanted.texts else there
    return tuple(key for key in keys if key.date >= wanted.since)


def with_twice(there: Sequence[SessionKey], survey: Survey, wanted: Wanted) -> tuple[SessionKey, ...]:
    """Add the sessions that lie in two roots where sessions are named: then it is told what is wrong with them."""
    return tuple(sorted({*there, *survey.twice}, key=str)) if wanted.texts and survey.twice else tuple(there)


def standing_as_asked(found: Iterable[SessionCells], wanted: Wanted) -> tuple[SessionCells, ...]:
    """Keep the sessions that stand as asked for; of one that cannot be read no asset is known: it stays."""
    if not wanted.states:
        return tuple(found)
    assets, asked = frozenset(wanted.assets or CATALOGUE), wanted.states | {State.UNREADABLE}
    return tuple(one for one in found if any(cell.state in asked and cell.asset in assets for cell in one.cells))
