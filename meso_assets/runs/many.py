"""Running many sessions from a terminal, one after the other.

What belongs here: which sessions are meant, by name and by where they stand, and going on after one that fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meso_core.errors import MesoError, SettingsError
from meso_core.progress import Progress, silent
from meso_core.session import SessionKey, Survey, choose_sessions

from ..defs.catalogue import CATALOGUE
from ..io.resources import Platform
from .cells import SessionCells, State
from .instance import open_instance
from .run import RunSummary, run_session
from .settings import MesoSettings
from .status import sessions_there, status_of

#: Told a line at a time.
Say = Callable[[str], None]


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


@dataclass(frozen=True, slots=True)
class SessionRun:
    """What became of one session among many."""

    session: str
    seconds: float
    #: None where it could not be begun.
    summary: RunSummary | None
    #: Why it could not be begun.
    why: str = ""

    @property
    def success(self) -> bool:
        """Whether all that was asked for was made."""
        return self.summary is not None and self.summary.success and not self.summary.partial

    @property
    def result(self) -> str:
        """Words for a table."""
        if self.summary is None:
            return f"not begun: {self.why}"
        failed = [asset for asset in CATALOGUE if asset in self.summary.failed]
        if self.summary.stopped:
            return "interrupted"
        if not self.summary.success:
            return f"failed: {', '.join(failed) or 'see the log'}"
        partial = "; ".join(f"{asset}: {why}" for asset, why in self.summary.partial.items())
        return f"partial: {partial}" if partial else "done"


def named_sessions(platform: Platform, wanted: Wanted, there: Sequence[SessionKey]) -> tuple[SessionKey, ...]:
    """Find the sessions that a person names, whatever they stand like.

    Parameters
    ----------
    platform
        Where results are.
    wanted
        What is asked for.
    there
        All sessions.

    Raises
    ------
    MissingInputError
        If a text matches no session.
    """
    keys = choose_sessions(wanted.texts, there, *platform.store.roots) if wanted.texts else there
    return tuple(key for key in keys if key.date >= wanted.since)


def there_to_name(settings: MesoSettings, survey: Survey, wanted: Wanted) -> tuple[SessionKey, ...]:
    """Sessions that a person can mean: those that were found, and those that cannot be reached or lie in two roots.

    The last count only where sessions are named: then it is told what is wrong with them.
    """
    there = survey.sessions
    if survey.unreachable:
        with open_instance(settings) as instance:
            there = sessions_there(instance, survey)
    return tuple(sorted({*there, *survey.twice}, key=str)) if wanted.texts and survey.twice else there


def sessions_that_stand(
    settings: MesoSettings,
    keys: Sequence[SessionKey],
    wanted: Wanted,
    progress: Progress = silent,
    *,
    survey: Survey | None = None,
) -> tuple[SessionCells, ...]:
    """Look at sessions, and keep those that stand as asked for.

    Parameters
    ----------
    settings
        Settings of the platform.
    keys
        Sessions.
    wanted
        States, and the assets that they are about. Of a session that cannot be read no asset is known: it stays.
    progress
        Told the sessions that were looked at.
    survey
        All sessions and where they lie, where the caller knows them.
    """
    assets = frozenset(wanted.assets or CATALOGUE)
    asked = wanted.states | {State.UNREADABLE} if wanted.states else frozenset(State)
    with open_instance(settings) as instance:
        found = status_of(settings, instance, keys, survey=survey, progress=progress)
    return tuple(
        one
        for one in found
        if not wanted.states or any(cell.state in asked and cell.asset in assets for cell in one.cells)
    )


def wanted_sessions(
    settings: MesoSettings, wanted: Wanted, say: Say, progress: Progress = silent
) -> tuple[SessionKey, ...]:
    """Find the sessions to run.

    Parameters
    ----------
    settings
        Settings of the platform.
    wanted
        What is asked for.
    say
        Told of sessions that cannot be looked at, where that is needed to know whether they are wanted.
    progress
        As :func:`sessions_that_stand`.

    Raises
    ------
    MissingInputError
        If a text matches no session, or the root cannot be listed.
    """
    platform = Platform.open(settings)
    survey = platform.store.survey()
    for root in survey.unreachable:
        say(f"warning: {root}")
    keys = named_sessions(platform, wanted, there_to_name(settings, survey, wanted))
    if not wanted.states:
        return keys
    found = {one.key: one for one in sessions_that_stand(settings, keys, wanted, progress, survey=survey)}
    for one in found.values():
        if one.standing == State.UNREADABLE.value:
            say(f"{one.session} is left out: {one.cells[0].why}")
    return tuple(key for key in keys if str(key) in found and found[str(key)].standing != State.UNREADABLE.value)


def run_sessions(
    settings: MesoSettings,
    keys: Sequence[SessionKey],
    *,
    assets: tuple[str, ...] = (),
    suite2p: Mapping[str, Any] | None = None,
    say: Say,
) -> Iterator[SessionRun]:
    """Run sessions one after the other; one that fails or cannot be begun keeps no other from running, a person does.

    Parameters
    ----------
    settings
        Settings of the platform.
    keys
        Sessions.
    assets, suite2p
        As :func:`run_session`.
    say
        Told before each session how many there are, and how much time is left at the pace so far.

    Yields
    ------
    SessionRun
        Of each session, when it has ended.

    Raises
    ------
    SettingsError
        As :func:`run_session`. No further session is run, for each would fail with it.
    """
    done: list[SessionRun] = []
    names = Platform.open(settings).names(keys)
    for key in keys:
        name = names[key]
        say(_before(name, len(keys), done))
        begun = time.monotonic()
        try:
            summary, why = run_session(settings, key, assets=assets, suite2p=suite2p), ""
        except SettingsError:
            raise
        except MesoError as error:
            summary, why = None, str(error)
        done.append(SessionRun(name, time.monotonic() - begun, summary, why))
        yield done[-1]
        if summary is not None and summary.stopped:
            say(f"interrupted; {len(keys) - len(done)} sessions were not begun. Run again, and it goes on where it was")
            return


def _before(name: str, n_sessions: int, done: Collection[SessionRun]) -> str:
    told = f"session {len(done) + 1} of {n_sessions}: {name}"
    if ran := [one.seconds for one in done if one.summary is not None]:
        told += f", about {_duration(sum(ran) / len(ran) * (n_sessions - len(done)))} left at the pace so far"
    n_failed = sum(not one.success for one in done)
    return told + (f"; {n_failed} so far did not come to their end" if n_failed else "")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
