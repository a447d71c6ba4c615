"""Running many sessions from a terminal, one after the other.

What belongs here: finding those that are meant, and going on after one that fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meso_core.counting import counted, lasting
from meso_core.errors import MesoError, SettingsError
from meso_core.progress import Progress, silent
from meso_core.session import SessionKey

from ..defs.catalogue import CATALOGUE
from ..io.resources import Platform
from ..io.session_names import Registered
from .choosing import Wanted, named_sessions, standing_as_asked, with_twice
from .instance import open_instance
from .run import RunSummary, run_session
from .settings.settings import MesoSettings
from .status.cells import State
from .status.status import sessions_there, status_of

#: Told a line at a time.
Say = Callable[[str], None]


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
        Told the sessions that were looked at, where that is needed to know whether they are wanted.

    Raises
    ------
    MissingInputError
        If a text matches no session, or the root cannot be listed.
    """
    store = settings.store()
    survey = store.survey()
    for root in survey.unreachable:
        say(f"warning: {root}")
    there = survey.sessions
    if survey.unreachable:
        with open_instance(settings) as instance:
            there = sessions_there(lambda: Registered.of(instance), survey)
    keys = named_sessions(store.roots, wanted, with_twice(there, survey, wanted))
    if not wanted.states:
        return keys
    with open_instance(settings) as instance:
        every = status_of(settings, instance, keys, survey=survey, progress=progress)
    found = {one.key: one for one in standing_as_asked(every, wanted)}
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
    discard_curation: bool = False,
    say: Say,
) -> Iterator[SessionRun]:
    """Run sessions one after the other; one that fails or cannot be begun keeps no other from running, a person does.

    Parameters
    ----------
    settings
        Settings of the platform.
    keys
        Sessions.
    assets, suite2p, discard_curation
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
    asked: dict[str, Any] = {"assets": assets, "suite2p": suite2p, "discard_curation": discard_curation}
    names = Platform.open(settings).names(keys)
    for key in keys:
        name = names[key]
        say(_before(name, len(keys), done))
        begun = time.monotonic()
        try:
            summary, why = run_session(settings, key, **asked), ""
        except SettingsError:
            raise
        except MesoError as error:
            summary, why = None, str(error)
        done.append(SessionRun(name, time.monotonic() - begun, summary, why))
        yield done[-1]
        if summary is not None and summary.stopped:
            say(f"interrupted; {_not_begun(len(keys) - len(done))}. Run again, and it goes on where it was")
            return


def _not_begun(n: int) -> str:
    if not n:
        return "it was the last one"
    return f"{counted(n, 'session')} {'was' if n == 1 else 'were'} not begun"


def _before(name: str, n_sessions: int, done: Collection[SessionRun]) -> str:
    told = f"session {len(done) + 1} of {n_sessions}: {name}"
    if ran := [one.seconds for one in done if one.summary is not None]:
        told += f", about {lasting(sum(ran) / len(ran) * (n_sessions - len(done)))} left at the pace so far"
    n_failed = sum(not one.success for one in done)
    return told + (f"; {n_failed} so far did not come to their end" if n_failed else "")
