"""What the sensor sees of a root, folder by folder, in words: the same for the sensor and for `meso scan`.

What belongs here: which sessions ask for a run by themselves, and how a folder is told. When a session is whole is
decided in ``meso_core.session.arrival``; what is due, by the declarations. Nothing here knows Dagster.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from meso_core.errors import told
from meso_core.progress import Progress, silent
from meso_core.session import Survey, some

from ...runs.settings.settings import MesoSettings
from ..standing.quick import quick_part
from ..standing.session_index import SessionIndex
from ..standing.summaries import SessionSummary


class Arriving(Enum):
    """What becomes of a folder."""

    READY = "ready"
    #: Ready, with nothing to make.
    CURRENT = "current"
    #: Ready, but what is to be made waits for somebody to ask.
    ON_REQUEST = "on request"
    WAITING = "waiting"
    BROKEN = "breaks a rule"
    UNREADABLE = "unreadable"
    IGNORED = "ignored"


#: A person must do something about these.
FAULTS = frozenset({Arriving.BROKEN, Arriving.UNREADABLE})


@dataclass(frozen=True, slots=True)
class SeenFolder:
    """A folder, and what becomes of it."""

    #: Session, or path below the root of what is none.
    path: str
    state: Arriving
    why: str

    def as_record(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "state": self.state.value}


def asks_for_a_run(state: SessionSummary, settings: MesoSettings) -> bool:
    """Whether a session wants a run by itself, unless it had that one before."""
    return state.ready and bool(state.due) and (state.runs_by_itself or settings.rerun_stale)


def seen_session(state: SessionSummary, settings: MesoSettings) -> SeenFolder:
    """Tell what becomes of a session that could be looked at."""
    if state.broken_rules:
        return SeenFolder(state.key, Arriving.BROKEN, "; ".join(state.broken_rules))
    if not state.ready:
        return SeenFolder(state.key, Arriving.WAITING, state.reason)
    if not state.due:
        return SeenFolder(state.key, Arriving.CURRENT, "nothing is to be made")
    if asks_for_a_run(state, settings):
        return SeenFolder(state.key, Arriving.READY, f"{state.reason}; to be made: {_to_be_made(state)}")
    return SeenFolder(state.key, Arriving.ON_REQUEST, state.why)


def _to_be_made(state: SessionSummary) -> str:
    """Say what is due, and what of it comes first."""
    quick = [name for name in quick_part(state.due) if name in state.due]
    first = f"; quick results first: {some(quick)}" if 0 < len(quick) < len(state.due) else ""
    return f"{some(tuple(state.due))}{first}"


def seen_folders(settings: MesoSettings, survey: Survey, progress: Progress = silent) -> tuple[SeenFolder, ...]:
    """Look at all folders of a root as the sensor does.

    Parameters
    ----------
    settings
        Settings of the platform.
    survey
        What a walk over the root found.
    progress
        Told the sessions that were looked at.

    Returns
    -------
    tuple
        Sessions in their order, then the folders that are passed over.
    """
    index, found = SessionIndex(settings), list[SeenFolder]()
    for n, key in enumerate(survey.sessions, 1):
        try:
            state = index.summary(key, place=survey.folders.get(key, ""), now_ns=time.time_ns())
        except Exception as error:  # noqa: BLE001  whatever one session holds, the others are told
            found.append(SeenFolder(str(key), Arriving.UNREADABLE, told(error)))
        else:
            found.append(seen_session(state, settings))
        progress(n, len(survey.sessions), "sessions looked at")
    index.save([str(key) for key in survey.sessions])
    return (*found, *_passed_over(survey))


def _passed_over(survey: Survey) -> Sequence[SeenFolder]:
    states = {one: Arriving.UNREADABLE for one in survey.unreachable}
    return [
        SeenFolder(one.path, states.get(one, Arriving.IGNORED if one.is_ignored else Arriving.BROKEN), one.reason)
        for one in survey.passed_over
    ]
