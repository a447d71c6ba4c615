"""Dagster's records as files: made whole, checked, backed up, and set aside when they are damaged.

What belongs here: the SQLite files of the home. Records in another database are the business of that database. What the
sessions hold does not depend on them: each result has its manifest beside it.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dagster as dg
import yaml

from meso_core.errors import StorageError
from meso_core.storage.files.atomic import make_folder, storage_errors
from meso_core.storage.files.hashing import sync_folder
from meso_core.storage.files.locks import locked

from . import on_server

#: The three files that every home has → what is lost with one.
MAIN = {
    "history/runs.db": "the list of runs, and which sessions wait to be run",
    "history/runs/index.db": "the history of the assets in the UI; `meso dev` lists the sessions again",
    "schedules/schedules.db": "which sensors are switched on: look at them in the UI",
}
_ONE_RUN = "the log of one run"
BACKUPS, DAMAGED = "backups", "damaged"
_WAIT_S = 60.0
#: With less room than this on the disk, bytes, it is taken for full.
_LITTLE_ROOM = 1 << 20


@dataclass(frozen=True, slots=True)
class Repaired:
    """A file that was damaged."""

    path: str
    #: What was wrong with it.
    why: str
    #: Where it lies now.
    set_aside: Path
    #: The backup that took its place, if one did.
    restored: Path | None

    def __str__(self) -> str:
        loses = f"without it is lost: {MAIN.get(self.path, _ONE_RUN)}"
        back = f"restored from {self.restored}; what came after it is lost" if self.restored else f"made anew; {loses}"
        return f"{self.path}: {self.why}; kept as {self.set_aside}; {back}"


def keeps_sqlite(home: Path) -> bool:
    """Whether the records are files of the home; a lab may have named another database in its ``dagster.yaml``."""
    try:
        chosen = yaml.safe_load((home / "dagster.yaml").read_text()) or {}
    except (OSError, yaml.YAMLError):
        return True  # Dagster tells what is wrong with it
    return not {"storage", "run_storage", "event_log_storage", "schedule_storage"} & set(chosen)


def make_missing(home: Path) -> bool:
    """Make those of the three files that are not there, each whole or not at all; returns whether any was missing."""
    new = home / ".new"
    shutil.rmtree(new, ignore_errors=True)  # what a killed process had begun, or had not cleared yet
    missing = [name for name in MAIN if not (home / name).exists()]
    if not missing:
        return False
    make_folder(new)
    (new / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    dg.DagsterInstance.from_config(str(new)).dispose()
    for name in missing:
        with closing(sqlite3.connect(new / name)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        make_folder((home / name).parent)
        for left in _side_files(home / name):
            left.unlink()  # of a file that is gone: they would be taken for those of the new one
        (new / name).replace(home / name)
        sync_folder((home / name).parent)
    shutil.rmtree(new)
    return True


def databases(home: Path) -> list[str]:
    """Paths of all files of records below the home: the three main ones, and the log of each run."""
    logs = sorted(path.relative_to(home).as_posix() for path in (home / "history" / "runs").glob("*.db"))
    return [*MAIN, *(log for log in logs if log not in MAIN)]


def what_is_wrong(path: Path, *, thorough: bool) -> str:
    """Look at one file of records.

    Parameters
    ----------
    path
        The file.
    thorough
        Read all of it. Otherwise only whether it is a database with one version of its layout.

    Returns
    -------
    str
        Empty when all is well.

    Raises
    ------
    StorageError
        If the disk or another user keeps it from being looked at.
    """
    if not path.is_file():
        return "not there"
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=_WAIT_S)) as database:
            versions = database.execute("SELECT version_num FROM alembic_version").fetchall()
            told = database.execute("PRAGMA integrity_check(1)").fetchone()[0] if thorough else "ok"
    except sqlite3.DatabaseError as error:
        if _of_the_disk(str(error)):
            raise _not_reached(path, str(error)) from error
        return str(error)
    if len(versions) != 1:
        return f"expected one version of its layout, found {len(versions)}"
    return "" if told == "ok" else str(told)


def check_main(home: Path) -> None:
    """Look briefly at the three main files.

    Raises
    ------
    StorageError
        With the first that is damaged, and what to do.
    """
    for name in MAIN:
        if wrong := what_is_wrong(home / name, thorough=False):
            raise damaged(home / name, wrong)


def damaged(where: Path, found: str) -> StorageError:
    """Make the error that names damaged records and the way out."""
    return StorageError.at(
        where,
        expected="Dagster's records, whole",
        found=found,
        remedy="Run `meso instance repair`: it sets the damaged file aside and goes on from the last backup, or "
        "anew. No result is lost: those are in the sessions",
    )


def error_of_records(error: BaseException) -> StorageError | None:
    """Find out whether an unexpected error came from Dagster's records, and name it; None if it did not."""
    home, found = Path(os.environ.get("DAGSTER_HOME", "MESO_HOME")), _chain(error)
    if not keeps_sqlite(home):
        return on_server.error_of(home, found)
    for one in found:
        if isinstance(one, sqlite3.Error) or type(one).__module__.startswith(("sqlalchemy.", "alembic.")):
            text = str(one).splitlines()[0]
            return _not_reached(home, text) if _of_the_disk(text) else damaged(home, text)
    for one in found:  # what Dagster writes beside its databases: configuration, what steps print
        if isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT):
            return _not_reached(Path(one.filename or home), f"{one.strerror}: the disk is full")
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """List an error and those that led to it."""
    chain: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in chain:
        chain.append(found)
        found = found.__cause__ or found.__context__
    return chain


def _of_the_disk(text: str) -> bool:
    """Whether SQLite complains about the disk or other users rather than about the file."""
    return any(word in text for word in ("full", "readonly", "unable to open", "locked", "disk I/O"))


def _not_reached(where: Path, found: str) -> StorageError:
    full = "full" in found or _has_no_room(where)
    first = "Free space on the disk of MESO_HOME" if full else "Check the disk of MESO_HOME and its permissions"
    return StorageError.at(
        where, expected="records that can be read and written", found=found, remedy=f"{first}, then run again"
    )


def _has_no_room(where: Path) -> bool:
    """Whether its disk is full: SQLite calls that a fault of the disk where it makes the files beside a database."""
    try:
        return shutil.disk_usage(where if where.exists() else where.parent).free < _LITTLE_ROOM
    except OSError:
        return False


def back_up(home: Path) -> Path:
    """Copy all records into a folder of the home, while they are in use; returns the folder."""
    stamp = f"{datetime.now():%Y-%m-%dT%H%M%S.%f}"
    target, beside = home / BACKUPS / stamp, home / BACKUPS / f".{stamp}.part"
    make_folder(home / BACKUPS)
    with storage_errors(beside), locked(home / BACKUPS / ".lock"):
        for left in (home / BACKUPS).glob(".*.part"):  # by a backup that was killed, or had no room
            shutil.rmtree(left)
        make_folder(beside)
        for name in databases(home):
            if (home / name).is_file():
                _copy(home / name, beside / name)
        if (home / "dagster.yaml").is_file():
            shutil.copyfile(home / "dagster.yaml", beside / "dagster.yaml")
        beside.replace(target)
        sync_folder(target.parent)
    return target


def backups(home: Path) -> list[Path]:
    """Folders of backups, the newest first."""
    folder = home / BACKUPS
    return sorted((p for p in folder.glob("[!.]*") if p.is_dir()), reverse=True) if folder.is_dir() else []


def repair(home: Path) -> list[Repaired]:
    """Set damaged files aside, and put the newest sound backup in their place; nothing is deleted.

    Call it only while nobody uses the records.
    """
    done = []
    aside = home / DAMAGED / f"{datetime.now():%Y-%m-%dT%H%M%S.%f}"
    for name in databases(home):
        path = home / name
        wrong = what_is_wrong(path, thorough=True)
        if not wrong or not path.exists():
            continue
        sound = next((b / name for b in backups(home) if not what_is_wrong(b / name, thorough=True)), None)
        with storage_errors(path):
            _keep_aside(path, (aside / name).parent)
            _copy(sound, path) if sound is not None else path.unlink()
        done.append(Repaired(name, wrong, aside / name, sound))
    return done


def _keep_aside(path: Path, folder: Path) -> None:
    """Give a damaged file and what belongs to it a second name each; the file keeps its place until another has it.

    A killed repair leaves a damaged file or a restored one there, never none: that would be made anew without a word.
    """
    make_folder(folder)
    for file in (path, *_side_files(path)):
        (folder / file.name).hardlink_to(file)
    sync_folder(folder)
    for file in _side_files(path):
        file.unlink()  # else they would be taken for those of the file that comes


def _copy(source: Path, target: Path) -> None:
    """Copy a database that may be in use, whole or not at all."""
    make_folder(target.parent)
    beside = target.with_name(f".{target.name}.part")
    beside.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(source, timeout=_WAIT_S)) as old, closing(sqlite3.connect(beside)) as new:
            old.backup(new)
    except sqlite3.DatabaseError as error:
        beside.unlink(missing_ok=True)
        raise damaged(source, str(error)) from error
    beside.replace(target)


def _side_files(path: Path) -> list[Path]:
    return [p for ending in ("-wal", "-shm", "-journal") if (p := path.with_name(path.name + ending)).exists()]
