"""Claims on names in a folder of a remote root: one holder at a time, on whichever machine.

What belongs here: taking, keeping alive and giving back. What a name stands for (an asset that a run makes, a
publication) is for the caller to say.

A claim is a small file of its own for each holder. Who wants a name writes it into its own file *first* and looks at
the files of the others *then*: of two that do so at once, at least one sees the other, and steps back. So a claim needs
no conditional write, which not every server knows, and no file of another holder is ever written. It needs a server
that lists what was written before (S3 has done so since 2020, SFTP always).

A holder that works renews its file every half minute. A claim ends when it is given back; when its process is proved
to be gone, which its own machine can tell; or when its file was not renewed for five minutes, by the server's clock.
A claim that has ended does not come back: a holder whose machine slept that long knows it by a clock that goes on
meanwhile, and writes its file no more.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from ....errors import MesoError, StorageError
from ....json_text import json_text
from ....processes import ProcessId, this_process
from ....session import ListedFile
from ..servers.filesystem import RemoteRoot, list_below
from ..transfers.transfer import read_small, remove, stat, write_small

#: Seconds between two signs of life, and seconds of silence after which a holder counts as gone.
BEAT_S, GONE_AFTER_S = 30.0, 300.0
_LARGEST = 1 << 16
#: A clock that cannot be set, and that also runs while the machine sleeps, where the system has one.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds names."""

    names: frozenset[str]
    #: What it works for: the id of a run, usually.
    run_id: str
    process: ProcessId
    #: Path of its file below the root.
    path: str
    #: The command, as a person types it; empty for a run.
    command: str = ""


@dataclass
class RemoteClaims:
    """What one holder claims in one folder.

    Parameters
    ----------
    root
        Root on a server.
    folder
        Folder of the claims of all holders, below the root.
    run_id
        What it works for; shown to those that wait.
    command
        The command, as a person types it; empty for a run.
    """

    root: RemoteRoot
    folder: str
    run_id: str
    command: str = ""
    _token: str = field(default_factory=lambda: uuid.uuid4().hex)
    _process: ProcessId = field(default_factory=this_process)
    _held: set[str] = field(default_factory=set)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _stop: threading.Event | None = None
    #: When the last write of the own file began that succeeded, s; None while there is no such file.
    _renewed: float | None = None
    _lost: bool = False

    @property
    def _path(self) -> str:
        return f"{self.folder}/{self._token}.json"

    def take(self, names: Collection[str]) -> tuple[Holder, ...]:
        """Claim names, all or none.

        Returns
        -------
        tuple of Holder
            Those that are in the way; empty when the names are claimed.

        Raises
        ------
        StorageError
            If the server does not answer, or cannot be written; or if what is held already was lost.
        """
        wanted = set(names)
        if others := self._in_the_way(wanted):
            return others
        with self._lock:
            try:
                others = self._ask_for(wanted)
            except BaseException:
                with suppress(MesoError):  # it ends by itself
                    self._write(self._held)
                raise
            if others:
                self._write(self._held)
                return others
            self._held |= wanted
            self._keep_alive()
        return ()

    def _ask_for(self, wanted: set[str]) -> tuple[Holder, ...]:
        """Write the names down first, then look who else has them."""
        self._write(self._held | wanted)
        if self._lost:
            raise self._ended(", ".join(sorted(self._held)))
        return self._in_the_way(wanted)

    def give_back(self, name: str) -> None:
        """Give a name back; one that is not held is left alone."""
        with self._lock:
            if name in self._held:
                self._held.discard(name)
                self._write(self._held)

    def give_all_back(self) -> None:
        """Give back what is still held."""
        with self._lock:
            self._held.clear()
            self._write(self._held)

    def insist(self, name: str) -> None:
        """Insist that a name is still held: a machine that slept for long has lost it.

        Raises
        ------
        StorageError
            If it is not.
        """
        with self._lock:
            if name not in self._held or self._has_ended():
                raise self._ended(name)

    def insist_on_run(self, name: str) -> None:
        """Insist that no other run has taken a name over from the run that this holder works for.

        A run that has claimed nothing is in nobody's way, unless another one works on that name.

        Raises
        ------
        StorageError
            If another run has.
        """
        holders = self._in_the_way({name})
        if holders and self.run_id not in {holder.run_id for holder in holders}:
            raise StorageError.at(
                f"{self.root.url}/{self.folder}",
                expected=f"the claim of run {self.run_id} on {name}",
                found=f"that of run {holders[0].run_id}, {holders[0].process}, which has taken it over",
                remedy="Wait until that run has ended, then run again",
            )

    def _ended(self, name: str) -> StorageError:
        return StorageError.at(
            f"{self.root.url}/{self.folder}",
            expected=f"the claim of this process on {name}",
            found=f"that it has ended: there was no sign of life for {GONE_AFTER_S / 60:g} minutes",
            remedy="Run again",
        )

    def _has_ended(self) -> bool:
        """Whether what this holder had is lost; once lost, it stays so."""
        if self._renewed is not None and not self._lost:
            self._lost = _now() - self._renewed > GONE_AFTER_S or stat(self.root, self._path) is None
        return self._lost

    def _in_the_way(self, names: set[str]) -> tuple[Holder, ...]:
        files = [f for f in list_below(self.root, self.folder) if f.path.endswith(".json")]
        others = [file for file in files if file.path != f"{self._token}.json"]
        if not others:
            return ()
        found = [holder for file in others if (holder := self._holder(file, files)) and holder.names & names]
        return tuple(sorted(found, key=lambda holder: holder.path))

    def _holder(self, file: ListedFile, files: Collection[ListedFile]) -> Holder | None:
        """Read who holds names; a claim that has ended is removed, and so is a file that is no claim."""
        path = f"{self.folder}/{file.path}"
        content = read_small(self.root, path, _LARGEST)
        if content is None:  # it was given back
            return None
        holder = _parsed(content, path)
        if holder is None or holder.process.is_gone or self._is_silent(file, files):
            remove(self.root, [path])
            return None
        return holder

    def _is_silent(self, file: ListedFile, files: Collection[ListedFile]) -> bool:
        """Whether a holder gives no sign of life: its file is compared with the newest that the server knows."""
        newest = max(other.mtime_ns for other in files)
        if newest - file.mtime_ns > GONE_AFTER_S * 1e9:
            return True
        # nobody else has written anything: a file of our own shows what time it is on the server
        clock = f"{self.folder}/{self._token}.clock"
        write_small(self.root, clock, b"")
        now = stat(self.root, clock)
        remove(self.root, [clock])
        return now is not None and now.mtime_ns - file.mtime_ns > GONE_AFTER_S * 1e9

    def _write(self, names: Collection[str]) -> None:
        if not names:
            if self._stop is not None:
                self._stop.set()
                self._stop = None
            self._renewed, self._lost = None, False
            remove(self.root, [self._path])
            return
        if self._has_ended():
            return
        record = {"names": sorted(names), "run_id": self.run_id, "process": self._process.as_record()}
        record |= {"command": self.command} if self.command else {}
        before, began = self._renewed, _now()
        write_small(self.root, self._path, (json_text(record, indent=1) + "\n").encode())
        self._renewed = began
        if before is not None and _now() - before > GONE_AFTER_S:  # too late: somebody else may hold the names by now
            self._lost = True
            remove(self.root, [self._path])

    def _keep_alive(self) -> None:
        if self._stop is None:
            self._stop = threading.Event()
            threading.Thread(target=partial(self._beat, self._stop), name="meso-claims", daemon=True).start()

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(BEAT_S):
            with self._lock:
                if stop.is_set() or not self._held or self._lost:  # ``insist`` tells
                    return
                try:
                    self._write(self._held)
                except MesoError:  # the server does not answer: the next beat may come through
                    continue


def _now() -> float:
    return time.clock_gettime(_CLOCK)


def _parsed(content: bytes, path: str) -> Holder | None:
    try:
        record = json.loads(content)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    process, names, run_id = ProcessId.from_record(record.get("process")), record.get("names"), record.get("run_id")
    if process is None or not isinstance(names, list) or not isinstance(run_id, str):
        return None
    return Holder(frozenset(map(str, names)), run_id, process, path, str(record.get("command", "")))
