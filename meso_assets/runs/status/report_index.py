"""The index over the reports of all sessions of a root.

What belongs here: finding the sessions, and reading the line that each report left. What does not: the page
(``meso_core.report``).
"""

from __future__ import annotations

import os
from pathlib import Path

from meso_core.errors import MesoError, SettingsError
from meso_core.opening import read_json
from meso_core.progress import Progress, silent
from meso_core.report import IndexedSession, SessionLine, make_index
from meso_core.review import decision, person_verdicts
from meso_core.session import SessionKey
from meso_core.storage import Session
from meso_core.storage.files.atomic import write_file

from ...defs.reporting import REPORT, REPORT_FILE, SUMMARY_FILE
from ...io.resources import Platform

#: Name of the index in its root.
INDEX_FILE = "session_reports.html"


def write_index(platform: Platform, target: Path | None, progress: Progress = silent) -> tuple[Path, int]:
    """Write the index; returns where, and how many sessions it has.

    Parameters
    ----------
    platform
        The root of sessions.
    target
        File to write; by default ``session_reports.html`` in the first root that is a folder.
    progress
        Told the sessions.

    Raises
    ------
    SettingsError
        If no file is given and all roots are on servers.
    StorageError
        If it cannot be written.
    """
    folder = next((root for root in platform.settings.roots if isinstance(root, Path)), None)
    if target is None and folder is None:
        raise SettingsError.at(
            "meso report --index",
            expected="a file to write: the root is on a server",
            found="none",
            remedy="Give one with --output",
        )
    target = (target or (folder or Path()) / INDEX_FILE).absolute()
    keys = platform.store.sessions()
    names, lines = platform.names(keys, keys), []
    for done, key in enumerate(keys, 1):
        lines.append(_indexed(platform, key, names[key], target))
        progress(done, len(keys), "reports read")
    write_file(target, make_index(lines))
    return target, len(lines)


def _indexed(platform: Platform, key: SessionKey, name: str, target: Path) -> IndexedSession:
    try:
        session = platform.at(key)
        made, person = session.manifest(REPORT), decision(person_verdicts(session.path))
        if made is None or SUMMARY_FILE not in {file.path for file in made.files}:
            return IndexedSession(name, why="no report was made: meso report", person=person)
        record = read_json(session.fetch([SUMMARY_FILE]) / SUMMARY_FILE, f"Run `meso report {name}` again")
        return IndexedSession(name, SessionLine.from_record(record), _address(session, target), person=person)
    except MesoError as error:
        return IndexedSession(name, why=f"its line cannot be read: {error}")
    except (ValueError, KeyError, TypeError, AttributeError):
        return IndexedSession(name, why=f"its line is of another version of meso: meso report {name}")


def _address(session: Session, target: Path) -> str:
    """Address of a page: relative to the index, so that both may be moved together; on a server, none that opens."""
    if not session.store.is_local:
        return ""
    from urllib.parse import quote

    return quote(os.path.relpath(session.path / REPORT_FILE, target.parent).replace(os.sep, "/"))
