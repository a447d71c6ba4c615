"""When is a session whole? A pure rule over a listing.

What belongs here: the rule, and the description file that it reads. Who lists, and what is done with the answer, is
the platform's business.

A session is not ready while a copy goes on (``x.tif.part``) or a link leads to nothing. Else it is ready when
``raw_session.flag`` is there; what came after the flag, as a late bout, must have been quiet for a period. Without it:
when what its ``_ibl_experiment.description.yaml`` promises is present (or, without one, an imaging bout with tifs), and
nothing of it has changed for that period.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputFileError, MesoError
from ..opening import is_there, read_plain
from .ignored import unfinished_copies, why_ignored
from .listing import GONE, ListedFile
from .raw_inputs import is_frame_archive, is_tif

READY_FLAG = "raw_session.flag"
DESCRIPTION = "_ibl_experiment.description.yaml"
#: Some disks and servers know times by two seconds alone, ns: what is newer than the flag by less came before it.
_COARSE_NS = 2_000_000_000
#: A description has some 100 lines; YAML is slow to read.
_MOST_BYTES, _MOST_BRACKETS = 1 << 16, 1000


@dataclass(frozen=True, slots=True)
class Arrival:
    """Whether a session is ready, and why (not)."""

    ready: bool
    reason: str
    #: Whether time alone may change the answer.
    until_later: bool = False


def read_description(session_path: Path) -> Mapping[str, Any] | None:
    """Read ``_ibl_experiment.description.yaml``; None where there is none.

    Raises
    ------
    InputFileError
        If it is there but not readable: then what it promises is not known.
    """
    file = session_path / DESCRIPTION
    if not is_there(file):
        return None
    import yaml

    try:
        text = read_plain(file, _MOST_BYTES).decode()
        if text.count("[") + text.count("{") > _MOST_BRACKETS:  # it takes minutes to find out that these are too many
            raise ValueError(f"more than {_MOST_BRACKETS} brackets")  # noqa: TRY301  told below
        content = yaml.safe_load(text)
    except MesoError:
        raise
    except Exception as error:  # whatever yaml makes of a date that is none, a number without end, text without form
        raise InputFileError.at(
            file,
            expected="YAML",
            found=f"{type(error).__name__}: {error}",
            remedy="Copy the file again from the rig. If the rig's is the same, move it away: then an imaging bout "
            "with tifs is enough",
        ) from error
    return content if isinstance(content, dict) else None


def judge_arrival(
    files: Iterable[ListedFile], *, now_ns: int, quiet_ns: int, description: Mapping[str, Any] | None = None
) -> Arrival:
    """Decide whether a session is ready to be processed.

    Parameters
    ----------
    files
        Listing of what the rig delivered.
    now_ns
        Time now, ns since 1970.
    quiet_ns
        How long nothing may have changed, ns.
    description
        Parsed ``_ibl_experiment.description.yaml``, where there is one.
    """
    listed = tuple(files)
    if copying := unfinished_copies(file.path for file in listed):
        return Arrival(False, f"still being copied: {some(copying)} (if no copy goes on, delete that)")
    files = tuple(file for file in listed if not why_ignored(file.path))
    if gone := [file.path for file in files if file.size == GONE]:
        return Arrival(False, f"a link to nothing: {some(gone)} (mount the disk that it leads to, or bring the file)")
    flag = next((file for file in files if file.path == READY_FLAG), None)
    newest = max((file.mtime_ns for file in files), default=0)
    if flag is not None and newest <= flag.mtime_ns + _COARSE_NS:
        return Arrival(True, f"{READY_FLAG} is there")
    if flag is None and (missing := missing_parts({file.path for file in files}, description)):
        return Arrival(False, f"still to come: {', '.join(missing)}")
    return _when_quiet(newest, now_ns, quiet_ns, f", and after {READY_FLAG}" if flag else "")


def _when_quiet(newest: int, now_ns: int, quiet_ns: int, since: str) -> Arrival:
    """Judge a session in which nothing is missing by its newest file."""
    if newest > now_ns:
        return Arrival(
            False, "a file's time lies in the future: compare the clocks of rig and server", until_later=True
        )
    if now_ns - newest < quiet_ns:
        why = f"changed {(now_ns - newest) / 60e9:.0f} min ago{since}, still being copied?"
        return Arrival(False, why, until_later=True)
    return Arrival(True, f"whole, and unchanged for {(now_ns - newest) / 60e9:.0f} min")


def missing_parts(paths: set[str], description: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Name what a session must have and has not.

    A description promises one folder per imaging bout (``devices.mesoscope.<name>.collection``, where ``*`` and ``?``
    stand for any characters) and the folder of the DAQ (``sync.<name>.collection``).
    """
    promised = promised_folders(description or {})
    missing = [folder for folder in promised if not any(_inside(path, folder) for path in paths)]
    if not any(is_tif(path) or is_frame_archive(path) for path in paths):
        missing.append("an imaging bout with tifs")
    return tuple(missing)


def promised_folders(description: Mapping[str, Any]) -> tuple[str, ...]:
    """Folders that a description promises for imaging and synchronisation, sorted."""
    devices = _mapping(_mapping(description.get("devices")).get("mesoscope"))
    sync = _mapping(description.get("sync"))
    sections = [_mapping(section) for section in (*devices.values(), *sync.values())]
    collections = (section.get("collection") for section in sections)
    return tuple(sorted({name for name in collections if isinstance(name, str) and name}))


def some(names: Sequence[str]) -> str:
    """Name a few, and count the others."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _inside(path: str, folder: str) -> bool:
    pattern = re.escape(folder).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    return re.match(f"{pattern}/.", path) is not None
