"""What was told, and what is still to be told: one small file of the platform's home.

What belongs here: the record, read and written whole under a lock. A message is written down before it is sent and
crossed out after it was taken: a kill in between sends that one message twice, and loses none.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from meso_core.errors import InputFileError, MesoWarning, MissingInputError
from meso_core.json_text import json_text
from meso_core.opening import RECORD_BYTES, read_json
from meso_core.storage.files.atomic import make_folder, write_file
from meso_core.storage.files.locks import locked

from .pages import Page

FOLDER = "notices"
_FILE, _LOCK, _FORM = "ledger.json", ".lock", 1
#: Runs that are remembered as told.
_MOST_TOLD = 5000


@dataclass(slots=True)
class Message:
    """A message on its way."""

    subject: str
    page: Page
    #: s since 1970.
    made_at: float
    #: Ids of the addresses that have not taken it.
    left: list[str]


@dataclass(slots=True)
class Ledger:
    """What was told, and what is still to be told."""

    file: Path
    #: Runs that ended before this time are history, s since 1970.
    since: float
    #: Run → when it was told, s since 1970.
    told: dict[str, float] = field(default_factory=dict)
    #: Session, or job without one → asset → why it failed last.
    failing: dict[str, dict[str, str]] = field(default_factory=dict)
    outbox: list[Message] = field(default_factory=list)
    #: Date and time of the last digest; empty before the first.
    digest_at: str = ""
    #: Sessions that were there then.
    known: list[str] = field(default_factory=list)
    #: Session that was whole just before then, or just after by another clock → when the last of it was published.
    done: dict[str, str] = field(default_factory=dict)

    def save(self) -> None:
        """Write it down, whole or not at all."""
        newest = sorted(self.told.items(), key=lambda one: one[1])[-_MOST_TOLD:]
        record = {**asdict(self), "told": dict(newest), "form": _FORM}
        del record["file"]
        write_file(self.file, json_text(record, sort_keys=True).encode())

    def put(self, subject: str, page: Page, to: list[str]) -> None:
        """Add a message to those on their way; it counts when it is saved."""
        self.outbox.append(Message(subject, page, time.time(), to))


@contextmanager
def open_ledger(home: Path, *, wait: bool = True) -> Iterator[Ledger]:
    """Open the ledger of a home; nobody else has it meanwhile.

    A damaged one is set aside with a warning, and what happened before is not told again.

    Raises
    ------
    BlockingIOError
        If somebody else has it, and this call must not wait.
    """
    folder = home / FOLDER
    make_folder(folder)
    with locked(folder / _LOCK, wait=wait):
        yield _read(folder / _FILE)


def _read(file: Path) -> Ledger:
    try:
        record = read_json(file, "Remove it: what happened before is not told again", RECORD_BYTES)
        return _ledger(file, record)
    except MissingInputError:
        return Ledger(file, time.time())
    except (InputFileError, ValueError, KeyError, TypeError, AttributeError) as error:
        aside = file.with_name(f"{_FILE}.damaged")
        file.replace(aside)
        warnings.warn(
            f"{file} was damaged ({error}) and is kept as {aside}: notices begin anew", MesoWarning, stacklevel=3
        )
        return Ledger(file, time.time())


def _ledger(file: Path, record: Mapping[str, Any]) -> Ledger:
    if record["form"] != _FORM:
        raise ValueError(f"form {record['form']}, expected {_FORM}")
    outbox = [Message(m["subject"], Page(**m["page"]), float(m["made_at"]), list(m["left"])) for m in record["outbox"]]
    return Ledger(
        file,
        float(record["since"]),
        {str(run): float(at) for run, at in record["told"].items()},
        {str(session): dict(why) for session, why in record["failing"].items()},
        outbox,
        str(record["digest_at"]),
        list(record["known"]),
        {str(session): str(at) for session, at in record.get("done", {}).items()},
    )
