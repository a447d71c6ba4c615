"""What is asked of a server, and the values in which it answers.

What belongs here: the protocol that S3, SFTP and memory answer. What does not: repeating what failed (``calls``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from ...files.hashing import FileHash

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Seen:
    """A file or folder as its server describes it."""

    #: Path as the server knows it.
    place: str
    is_folder: bool
    #: Bytes; ``GONE`` for a link to nothing.
    size: int = 0
    #: Time of the last change, ns since 1970.
    mtime_ns: int = 0
    #: What the server calls this content (the ETag of S3); empty where it has no name for it.
    version: str = ""
    #: Whether this is a link to the file.
    is_link: bool = False


class Sending(Protocol):
    """A file that is uploaded, over all tries."""

    content: FileHash
    #: What the backend remembers between tries.
    state: Any

    def piece(self, start: int, length: int) -> bytes:
        """Return these bytes of the file; the last ones only if the whole is what it should be."""

    def confirm(self, n: int) -> None:
        """Record that the server has taken so many more bytes."""

    def begin_again(self) -> None:
        """Record that the server has lost what it had."""


class Backend(Protocol):
    """A kind of server. Calls raise what their library raises; :mod:`calls` repeats and translates."""

    #: The filesystem of fsspec.
    fs: Any
    #: Whether a file is moved by a rename, which keeps its time; else the server copies it, and then removes the first.
    renames: bool

    def children(self, place: str) -> Iterable[Seen]:
        """List one level; raises FileNotFoundError where there is no such folder."""

    def below(self, place: str) -> Iterator[Seen]:
        """List all files at any depth, in any order; nothing where there is no such folder."""

    def stat(self, place: str) -> Seen | None:
        """Look at a file, or return None."""

    def read(self, place: str, start: int, length: int) -> bytes:
        """Read a range, up to the end of the file."""

    def read_ranges(self, place: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read ranges (start, length) that lie in the file, many at a time; fewer bytes where it ends before."""

    def write(self, place: str, content: bytes) -> None:
        """Write a small file whole, over what is there."""

    def send(self, place: str, sending: Sending) -> None:
        """Upload a file that takes its name only when it is whole; called again, it goes on."""

    def give_up(self, sending: Sending) -> None:
        """Remove what an upload that failed has left; never raises."""

    def give_up_left(self, place: str, before_ns: int) -> int:
        """Give up uploads to below a folder that were begun before a time, and that no listing shows; tell how many."""

    def put_in_place(self, source: str, target: str) -> None:
        """Give a file that was uploaded another name, over what is there, in one step; the first name may stay."""

    def second_name(self, source: str, target: str) -> bool:
        """Give a file a second name, or a copy, over what is there, without moving its bytes over the network.

        False where this server can do neither; then nothing was done.
        """

    def move_new(self, source: str, target: str) -> None:
        """Rename a file; raises FileExistsError where there is something already. Only where it ``renames``."""

    def copy_new(self, source: Seen, target: str) -> None:
        """Copy a file on the server, as it was seen; only where it does not rename.

        Raises FileExistsError where there is something already, FileNotFoundError if the file is another one by now.
        """

    def remove_as_seen(self, seen: Seen) -> bool:
        """Remove a file if it is the one that was seen, in one step where the server can; tell whether it was."""

    def may_lose(self, folder: str) -> str:
        """Say how moving a file could lose what somebody else writes at that moment; empty if it cannot.

        It is tried with small files in this folder.
        """

    def set_time(self, place: str, mtime_ns: int) -> bool:
        """Set the time of a file; False where the server gives the times."""

    def remove(self, places: Iterable[str]) -> None:
        """Remove files; those that are not there are passed over."""

    def passing(self, error: BaseException) -> bool:
        """Whether the same call may succeed a moment later."""

    def renew(self) -> None:
        """Connect again."""

    def own(self) -> None:
        """Connect again in a process that was forked: it cannot share the threads and sockets of its parent."""


def nanoseconds(moment: datetime | None) -> int:
    """Nanoseconds since 1970, exactly; 0 where a server does not tell."""
    if moment is None:
        return 0
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1) * 1000
