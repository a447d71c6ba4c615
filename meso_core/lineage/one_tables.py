"""The tables with which ONE finds sessions and datasets below a root, made from manifests: no file is read again.

What belongs here: the two tables of ``one.alf.cache`` (sessions, datasets) for a local root. ONE can make them too, but
then without the hashes, and it warns of each dataset that it loads; or it reads every byte of the root for them.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import StorageError
from ..progress import Progress, silent
from ..session import MESO_FOLDER, SessionKey
from ..storage import Session, hash_file
from ..storage.files.atomic import making

if TYPE_CHECKING:
    import pandas as pd

SESSIONS_TABLE, DATASETS_TABLE = "sessions.pqt", "datasets.pqt"
#: Identities follow from names alone, so that a table made again, or elsewhere, has the same.
_IDS = uuid.UUID("4b0c6a52-6f3e-5d0b-9a57-5b1f3f2d7c11")
#: Folder of a revision, as in ``alf/FOV_00/#2023-03-01#/mpci.times.npy``.
_REVISION = re.compile(r"(?:^|/)#([^#/]+)#(?=/)")
#: When no session has anything; ONE wants a time.
_NEVER = "1970-01-01 00:00"


@dataclass(frozen=True, slots=True)
class WrittenTables:
    """What was written."""

    sessions: Path
    datasets: Path
    n_sessions: int
    n_datasets: int


def session_id(key: SessionKey) -> uuid.UUID:
    """Identity (`eid`) of a session in the tables."""
    return uuid.uuid5(_IDS, str(key))


def write_one_tables(
    sessions: Iterable[Session], folder: Path, *, raw: bool = False, progress: Progress = silent
) -> WrittenTables:
    """Write ``sessions.pqt`` and ``datasets.pqt``.

    Parameters
    ----------
    sessions
        Sessions of one local root.
    folder
        Where the tables go; ONE looks for them in the root. It is made where it is missing.
    raw
        Whether the rig's datasets are listed too. Nobody has their hashes: each is read for it.
    progress
        Told how many sessions were looked at.

    Raises
    ------
    StorageError
        If a session lies on a server: ONE opens folders alone.
    """
    import pandas as pd
    from one.alf.cache import DATASETS_COLUMNS, SESSIONS_COLUMNS

    chosen, of_sessions, of_datasets, last = list(sessions), [], [], _NEVER
    for number, session in enumerate(chosen):
        progress(number, len(chosen), "sessions looked at")
        there, key, manifests = _folder_of(session), session.key, session.manifests().values()
        files = {file.path: (file.size, file.md5) for manifest in manifests for file in manifest.files}
        if raw:
            files = dict(_hashed(there, set(files))) | files
        if rows := list(_datasets(key, there, files)):
            day = date.fromisoformat(key.date)
            of_sessions.append((str(session_id(key)), key.lab or "", key.subject, day, int(key.number), "", ""))
            of_datasets += rows
        last = max([last, *(manifest.published_at[:16].replace("T", " ") for manifest in manifests)])
    table = pd.DataFrame(of_sessions, columns=list(SESSIONS_COLUMNS)).astype(SESSIONS_COLUMNS).set_index("id")
    columns = {**DATASETS_COLUMNS, "default_revision": bool}
    datasets = pd.DataFrame(of_datasets, columns=list(columns)).astype(columns).set_index(["eid", "id"])
    _write(folder / SESSIONS_TABLE, table.sort_index(), last)
    _write(folder / DATASETS_TABLE, datasets.sort_index(), last)
    return WrittenTables(folder / SESSIONS_TABLE, folder / DATASETS_TABLE, len(table), len(datasets))


def _folder_of(session: Session) -> Path:
    if not session.store.is_local:
        remedy = "Mount the storage, and give its path as MESO_ROOT for this command"
        raise StorageError.at(session.store.root, expected="a folder", found="a server", remedy=remedy)
    return session.path


def _hashed(folder: Path, others: set[str]) -> Iterator[tuple[str, tuple[int, str]]]:
    """Path below the session, size and MD5 of each dataset that is not among others."""
    from one.alf.path import ALFPath

    for path in ALFPath(folder).iter_datasets(recursive=True):
        below = path.relative_to(folder).as_posix()
        if below not in others and not below.startswith(f"{MESO_FOLDER}/"):
            content = hash_file(Path(path))
            yield below, (content.size, content.md5)


def _datasets(
    key: SessionKey, folder: Path, files: Mapping[str, tuple[int, str]]
) -> Iterator[tuple[str, str, str, int, str, bool, str, bool]]:
    """Rows of the table of datasets: of all files that ONE takes for datasets by their names."""
    from one.alf.spec import is_valid

    eid = session_id(key)
    valid = [path for path in files if is_valid(path.rpartition("/")[2]) and not path.startswith(f"{MESO_FOLDER}/")]
    newest: dict[str, str] = {}
    for path in valid:
        plain = _REVISION.sub("", path)
        newest[plain] = max(newest.get(plain, path), path, key=_revision)
    for path in valid:
        is_default = newest[_REVISION.sub("", path)] == path
        there = (folder / path).is_file()
        yield str(eid), str(uuid.uuid5(eid, path)), path, *files[path], there, "NOT_SET", is_default


def _revision(path: str) -> str:
    """Return the revision of a path; that of a file without one comes before all."""
    found = _REVISION.search(path)
    return found[1] if found else ""


def _write(path: Path, table: pd.DataFrame, made_at: str) -> None:
    from iblutil.io import parquet

    with making(path) as part:
        parquet.save(part, table, {"date_created": made_at, "origin": "meso"})
