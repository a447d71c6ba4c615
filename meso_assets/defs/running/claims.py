"""Two runs of one session do not make the same asset at once: one works, the other waits and says for whom.

A command that takes raw tifs away or brings them back claims the assets that are made of them: no run reads them then.

What belongs here: the claims of a run on assets of a session, as files beside the session's own records, so that
programs with other records (another ``MESO_HOME``, another machine on the same share) see them too. A claim names the
process of its run; it is void when that process is gone, which only the machine of that process can tell.
"""

from __future__ import annotations

import errno
import json
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from meso_core.errors import InputFileError, MissingInputError, StorageError
from meso_core.json_text import json_text
from meso_core.opening import read_plain
from meso_core.processes import ProcessId, this_process
from meso_core.session import MESO_FOLDER
from meso_core.storage.files.atomic import clear_parts, make_folder, storage_errors, write_file
from meso_core.storage.files.deferred_renames import remove_name
from meso_core.storage.files.locks import locked

from .dead_runs import short

#: Between two looks at the claims of others, s; and between two lines that tell of the same holder.
_LOOK_EVERY_S, _TELL_EVERY_S = 1.0, 300.0
_LARGEST_CLAIM = 1 << 14
#: What the system says of a link that leads to no file.
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True, slots=True)
class Claim:
    """A run at work on an asset, or a command that keeps runs away from it."""

    asset: str
    run_id: str
    process: ProcessId
    #: The command; empty for a run.
    command: str = ""

    def __str__(self) -> str:
        return f"{self.asset} is {self.holder}"

    @property
    def holder(self) -> str:
        """Say who claims it."""
        who = f"kept by `{self.command}`" if self.command else f"made by run {short(self.run_id)}"
        return f"{who}, {self.process}, since {self.process.since[11:16]}"


def told_claims(claims: Iterable[Claim]) -> str:
    """Say who claims what, each holder once."""
    assets: dict[str, list[str]] = {}
    for claim in claims:
        assets.setdefault(claim.holder, []).append(claim.asset)
    return "; ".join(f"{', '.join(of)} {'is' if len(of) == 1 else 'are'} {holder}" for holder, of in assets.items())


class Claims:
    """What one run, or one command, claims of one session.

    Parameters
    ----------
    session
        Session folder.
    run_id
        Id of the run that this process leads; for a command, a text that no other one has.
    command
        The command, as a person types it; empty for a run.
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

    @property
    def run_id(self) -> str:
        """Id of the run, or of the command."""
        return self._run_id

    def take(self, assets: Collection[str]) -> tuple[Claim, ...]:
        """Claim assets, all or none.

        Returns
        -------
        tuple of Claim
            Those of other runs that are in the way; empty when the assets are claimed.

        Raises
        ------
        StorageError
            If the session is not there or cannot be written.
        InputFileError
            If this user may not read a claim that is there.
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
            with suppress(StorageError), _locked(self._folder):  # the session was moved away: so was the claim
                claim = _read(self._folder, asset)
                if claim is not None and claim.run_id == self._run_id:
                    remove_name(self._folder / f"{asset}.json")

    def give_all_back(self) -> None:
        """Give back what is still claimed."""
        for asset in sorted(self._held):
            self.give_back(asset)


def command_id(command: str) -> str:
    """Make up a text for a command that no other one has."""
    return f"{command} {uuid.uuid4()}"


class Claiming(Protocol):
    """What one run, or one command, claims of one session, wherever that lies; see :class:`Claims`."""

    @property
    def run_id(self) -> str:
        """Id of the run, or of the command."""

    @property
    def folder(self) -> Path | str:
        """Folder of the claims of all runs."""

    def take(self, assets: Collection[str]) -> tuple[Claim, ...]:
        """Claim assets, all or none; return the claims that are in the way."""

    def wait_for(self, assets: Collection[str], tell: Callable[[str], None]) -> None:
        """Claim assets; wait until no other run works on one of them, and tell for whom."""

    def give_all_back(self) -> None:
        """Give back what is still claimed."""


C = TypeVar("C", bound=Claiming)


@contextmanager
def held(claims: C, where: str, assets: Collection[str], tell: Callable[[str], None] | None) -> Iterator[C]:
    """Hold claims for a while.

    Parameters
    ----------
    claims
        Of a run or a command.
    where
        The session, for messages.
    assets
        Names of the assets.
    tell
        Told for whom it waits; without, it does not wait.

    Raises
    ------
    StorageError
        If the session is not there or cannot be written; or if a run is at work on one of them, and this must not wait.
    InputFileError
        As :meth:`Claims.take`.
    """
    if tell is not None:
        claims.wait_for(assets, tell)
    elif others := claims.take(assets):
        raise StorageError.at(
            where,
            expected="nobody at work on these assets",
            found=told_claims(others),
            remedy=f"Wait until that has ended; if it is gone for good, remove its files in {claims.folder}",
        )
    try:
        yield claims
    finally:
        claims.give_all_back()


def wait(take: Callable[[], tuple[Claim, ...]], tell: Callable[[str], None], folder: str) -> None:
    """Try to claim assets until nobody is in the way, and tell for whom that waits."""
    told, told_at = set[str](), 0.0
    while others := take():
        holders = {other.holder for other in others}
        if not holders <= told or time.monotonic() - told_at > _TELL_EVERY_S:
            tell(f"waiting: {told_claims(others)}. If it is gone for good, remove its files in {folder}")
            told, told_at = holders, time.monotonic()
        time.sleep(_LOOK_EVERY_S)


def _read(folder: Path, asset: str) -> Claim | None:
    """Read a claim; None where there is none, or something that is none.

    Raises
    ------
    InputFileError
        If there is one that this user may not read, or that the disk does not give: it may be anybody's.
    """
    try:
        record = json.loads(read_plain(folder / f"{asset}.json", _LARGEST_CLAIM))
    except MissingInputError:
        return None
    except InputFileError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno not in _NO_FILE:
            raise
        return None
    except (ValueError, RecursionError):
        return None
    process = ProcessId.from_record(record.get("process")) if isinstance(record, dict) else None
    if process is None or not isinstance(record, dict):
        return None
    run_id, command = record.get("run_id"), record.get("command", "")
    return Claim(asset, run_id, process, command) if isinstance(run_id, str) and isinstance(command, str) else None


def _write(folder: Path, claim: Claim) -> None:
    """Write a claim; it need not outlive a loss of power, so nothing is brought to the disk."""
    path = folder / f"{claim.asset}.json"
    clear_parts(path)
    record = {"run_id": claim.run_id, "command": claim.command, "process": claim.process.as_record()}
    write_file(path, json_text(record, indent=1).encode(), flush=False)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a session's claims; it dies with the process. A session that is not there is not made."""
    make_folder(folder)
    with storage_errors(folder), locked(folder / ".lock"):
        yield
