"""Two runs of one session do not make the same asset at once: one works, the other waits and says for whom.

A command that takes raw tifs away or brings them back claims the assets that are made of them: no run reads them then.

What belongs here: the claims of a run on assets of a session, as files beside the session's own records, so that
programs with other records (another ``MESO_HOME``, another machine on the same share) see them too. A claim names the
process of its run; it is void when that process is gone, which only the machine of that process can tell.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from meso_core.errors import MesoError
from meso_core.json_text import json_text
from meso_core.opening import read_json
from meso_core.processes import ProcessId, this_process
from meso_core.session import MESO_FOLDER
from meso_core.storage.atomic import clear_parts, part_path, storage_errors
from meso_core.storage.locks import locked
from meso_core.storage.names import remove_name, replace_name
from meso_core.storage.permissions import folder_as_its_parent

from .catalogue import MADE_OF_TIFS
from .dead_runs import short

#: Between two looks at the claims of others, s; and between two lines that tell of the same holder.
_LOOK_EVERY_S, _TELL_EVERY_S = 1.0, 300.0
_LARGEST_CLAIM = 1 << 14


@dataclass(frozen=True, slots=True)
class Claim:
    """A run at work on an asset, or a command that keeps runs away from it."""

    asset: str
    run_id: str
    process: ProcessId
    #: The command; empty for a run.
    command: str = ""

    def __str__(self) -> str:
        who = f"kept by `{self.command}`" if self.command else f"made by run {short(self.run_id)}"
        return f"{self.asset} is {who}, {self.process}, since {self.process.since[11:16]}"


class Claims:
    """What one run, or one command, claims of one session.

    Parameters
    ----------
    session
        Session folder.
    run_id
        The run, which is led by this process; or anything that nobody else has.
    command
        The command, where it is none that runs the session.
    """

    def __init__(self, session: Path, run_id: str, command: str = "") -> None:
        self._folder = session / MESO_FOLDER / "claims"
        self._run_id = run_id
        self._command = command
        self._held: set[str] = set()

    @property
    def folder(self) -> Path:
        """Folder of the claims of all runs."""
        return self._folder

    def take(self, assets: Collection[str]) -> tuple[Claim, ...]:
        """Claim assets, all or none.

        Returns
        -------
        tuple of Claim
            Those of other runs that are in the way; empty when the assets are claimed.

        Raises
        ------
        OSError
            If the session is not there or cannot be written.
        """
        with _locked(self._folder):
            found = [_read(self._folder, asset) for asset in sorted(assets)]
            others = tuple(c for c in found if c and c.run_id != self._run_id and not c.process.is_gone)
            if not others:
                process = this_process()
                for asset in assets:
                    _write(self._folder, Claim(asset, self._run_id, process, self._command))
                    self._held.add(asset)
        return others

    def wait_for(self, assets: Collection[str], tell: Callable[[str], None]) -> None:
        """Claim assets; wait until no other run works on one of them, and tell for whom."""
        wait(lambda: self.take(assets), tell, str(self._folder))

    def give_back(self, asset: str) -> None:
        """Give an asset back: it is made. One that is not claimed any more is left alone."""
        if asset in self._held:
            self._held.discard(asset)
            with suppress(OSError), _locked(self._folder):  # the session was moved away: so was the claim
                claim = _read(self._folder, asset)
                if claim is not None and claim.run_id == self._run_id:
                    remove_name(self._folder / f"{asset}.json")

    def give_all_back(self) -> None:
        """Give back what is still claimed."""
        for asset in sorted(self._held):
            self.give_back(asset)


@contextmanager
def raw_tifs_claimed(session: Path, command: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Keep runs away from the raw tifs of a session for a while; wait for those that read them, and tell for whom.

    Parameters
    ----------
    session
        Session folder.
    command
        What takes them away or brings them back, as a person types it.
    tell
        Told for whom it waits.

    Raises
    ------
    StorageError
        If the session is not there or cannot be written.
    """
    claims = Claims(session, f"{command} {uuid.uuid4()}", command)
    with storage_errors(claims.folder):
        claims.wait_for(MADE_OF_TIFS, tell)
    try:
        yield
    finally:
        claims.give_all_back()


def wait(take: Callable[[], tuple[Claim, ...]], tell: Callable[[str], None], folder: str) -> None:
    """Try to claim assets until nobody is in the way, and tell for whom that waits."""
    told, told_at = "", 0.0
    while others := take():
        text = f"waiting: {'; '.join(map(str, others))}"
        if text != told or time.monotonic() - told_at > _TELL_EVERY_S:
            tell(f"{text}. If it is gone for good, remove its files in {folder}")
            told, told_at = text, time.monotonic()
        time.sleep(_LOOK_EVERY_S)


def _read(folder: Path, asset: str) -> Claim | None:
    """Read a claim; None where there is none, or something that is none."""
    try:
        record = read_json(folder / f"{asset}.json", "Remove it", _LARGEST_CLAIM)
    except MesoError:
        return None
    process = ProcessId.from_record(record.get("process")) if isinstance(record, dict) else None
    if process is None or not isinstance(record, dict):
        return None
    run_id, command = record.get("run_id"), record.get("command", "")
    return Claim(asset, run_id, process, command) if isinstance(run_id, str) and isinstance(command, str) else None


def _write(folder: Path, claim: Claim) -> None:
    """Write a claim whole; it need not outlive a loss of power, so nothing is brought to the disk."""
    path = folder / f"{claim.asset}.json"
    clear_parts(path)
    beside = part_path(path)
    record = {"run_id": claim.run_id, "command": claim.command, "process": claim.process.as_record()}
    beside.write_text(json_text(record, indent=1))
    replace_name(beside, path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a session's claims; it dies with the process. A session that is not there is not made."""
    for made in (folder.parent, folder):
        if not made.exists():  # the rights of one that is there are somebody's choice
            made.mkdir(exist_ok=True)
            folder_as_its_parent(made)
    with locked(folder / ".lock"):
        yield
