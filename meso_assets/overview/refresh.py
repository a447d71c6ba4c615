"""Making the overview of a root, and keeping it in the home.

What belongs here: who asks when. The file is made whole or not at all; the one before stays until then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from meso_core.errors import InputFileError, MesoError, MissingInputError
from meso_core.opening import open_plain, read_json
from meso_core.progress import Progress, silent, throttled
from meso_core.storage import write_file

from ..io.session_names import Registered
from ..runs.settings.settings import MesoSettings
from ..runs.status.status import sessions_there, status_beside, status_of
from .page import html_page, seconds_of
from .record import Overview

if TYPE_CHECKING:
    import dagster as dg

    from meso_core.session import PassedOver

    from ..runs.status.cells import SessionCells
    from ..runs.status.dagster_records import Ask

OVERVIEW = "overview.html"
#: Where a running interface says its address, below Dagster's folder.
INTERFACE = ".interface.json"
_LARGEST = 1 << 14
#: So many sessions are looked at in no time.
_FEW = 20
#: Where nobody waits, there is a pause of so many times as long as the last look took.
_PAUSES = 20
#: Bytes at the beginning of a page that hold its head.
_HEAD = 1 << 10
_MAKING = threading.Lock()


def overview_path(settings: MesoSettings) -> Path:
    """Where the page lies."""
    return Path(settings.home).expanduser().absolute() / OVERVIEW


def overview_of(settings: MesoSettings, instance: dg.DagsterInstance, progress: Progress = silent) -> Overview:
    """Look at all sessions.

    Raises
    ------
    MissingInputError
        If the root cannot be listed.
    """
    begun, survey = time.monotonic(), settings.store().survey()
    there = sessions_there(lambda: Registered.of(instance), survey)
    heard = progress if len(survey.sessions) > _FEW else silent
    sessions = status_of(settings, instance, there, survey=survey, progress=heard)
    return _overview(settings, begun, sessions, survey.passed_over)


def overview_beside(settings: MesoSettings, ask: Ask, progress: Progress = silent) -> Overview:
    """Look at all sessions as :func:`overview_of`, while another process asks Dagster's records."""
    begun, survey = time.monotonic(), settings.store().survey()
    there = sessions_there(lambda: ask().registered, survey)
    heard = progress if len(survey.sessions) > _FEW else silent
    sessions = status_beside(settings, ask, there, survey=survey, progress=heard)
    return _overview(settings, begun, sessions, survey.passed_over)


def _overview(
    settings: MesoSettings, begun: float, sessions: tuple[SessionCells, ...], passed_over: tuple[PassedOver, ...]
) -> Overview:
    return Overview(
        root=settings.store().root,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        sessions=sessions,
        passed_over=passed_over,
        seconds=time.monotonic() - begun,
        interface=_interface(settings),
    )


def make_overview(settings: MesoSettings, ask: Ask, progress: Progress = silent) -> Path:
    """Make the page for who asks for it in a terminal; returns it. Raises as :func:`refresh`."""
    file = overview_path(settings)
    with _MAKING:
        write_file(file, html_page(overview_beside(settings, ask, progress)).encode(), flush=False)
    return file


def refresh(
    settings: MesoSettings,
    instance: dg.DagsterInstance,
    *,
    older_than_s: float = 0.0,
    is_asked_for: bool = True,
    progress: Progress = silent,
) -> Path:
    """Make the page again, if it is older than asked for.

    Parameters
    ----------
    settings, instance
        Settings of the platform, and Dagster's records.
    older_than_s
        A page that was made within this time stays, s. Where nobody waits for it, so does one whose making took more
        than a small part of the time since: on a server very many sessions take minutes.
    is_asked_for
        Whether a person asks for it now.
    progress
        Told the sessions that were looked at.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    MissingInputError
        If the root cannot be listed.
    StorageError
        If the page cannot be written.
    """
    file = overview_path(settings)
    with _MAKING:  # who waited for another finds its page
        least_s = older_than_s if is_asked_for else max(older_than_s, _PAUSES * _seconds_of(file))
        if not _is_younger(file, least_s):
            write_file(file, html_page(overview_of(settings, instance, progress)).encode(), flush=False)
    return file


def _seconds_of(file: Path) -> float:
    try:
        with open_plain(file) as opened:
            return seconds_of(opened.read(_HEAD).decode("utf-8", "replace"))
    except (MissingInputError, InputFileError, OSError):
        return 0.0


def _is_younger(file: Path, seconds: float) -> bool:
    try:
        return 0 <= time.time() - file.stat().st_mtime < seconds
    except OSError:
        return False


def _interface(settings: MesoSettings) -> str:
    """Address of the interface that runs, or ran last."""
    try:
        record = read_json(settings.dagster_home / INTERFACE, "Remove it", _LARGEST)
    except (MissingInputError, InputFileError):
        return ""
    url = record.get("url") if isinstance(record, dict) else None
    return url if isinstance(url, str) and url.startswith(("http://", "https://")) else ""


def refresh_after_run(settings: MesoSettings, say: Callable[[str], None], *, older_than_s: float = 0.0) -> None:
    """Make the page again after a run of a terminal; what keeps it from being made is told, and is no fault of the run.

    Parameters
    ----------
    settings
        Settings of the platform.
    say
        Told what is wrong, and how far a long look at very many sessions is.
    older_than_s
        As for :func:`refresh`.
    """
    from ..runs.instance import open_instance

    try:
        with open_instance(settings) as instance:
            refresh(settings, instance, older_than_s=older_than_s, is_asked_for=False, progress=throttled(say))
    except MesoError as error:
        say(f"the overview could not be made again: {error}")
