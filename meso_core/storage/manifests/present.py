"""The files of a session as one look finds them: whether a published file is there, and is as it was.

What belongs here: comparing records with a listing, whoever listed. Content is asked of the store, and only of small
files whose time is another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ...session import GONE, ListedFile
from ..files.times import same_time
from .manifest import FileRecord, Manifest

#: Files up to this size are hashed where their time of change differs from the record; an edited label file is small.
_HASHED_IF_TOUCHED_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class PresentFiles:
    """The files of a session, from one listing."""

    #: Path below the session → what is there.
    files: Mapping[str, ListedFile]
    #: Gives the SHA-256 of a file that is there, by its path below the session.
    sha256: Callable[[str], str]

    @classmethod
    def of(cls, listing: Iterable[ListedFile], sha256: Callable[[str], str]) -> PresentFiles:
        """Take a listing."""
        return cls({file.path: file for file in listing}, sha256)

    def wrong_with(self, record: FileRecord, *, content: bool = False) -> str:
        """Compare a file with its record.

        Parameters
        ----------
        record
            What was published.
        content
            Hash it in any case; otherwise only a file up to 64 MB whose time of change is not the recorded one.

        Returns
        -------
        str
            What is wrong with it; empty when all is well.
        """
        file = self.files.get(record.path)
        return difference(record, file, lambda: self.sha256(record.path), content=content)

    def broken(self, manifest: Manifest) -> tuple[str, ...]:
        """Sentences on the files of a manifest that are missing or changed."""
        return tuple(sentence for record in manifest.files if (sentence := self.wrong_with(record)))

    def is_unchanged(self, record: FileRecord) -> bool:
        """Whether a published file is there as it was published, and is no link."""
        file = self.files.get(record.path)
        return file is not None and not file.is_link and not self.wrong_with(record)


def difference(record: FileRecord, file: ListedFile | None, sha256: Callable[[], str], *, content: bool) -> str:
    """Say in what a file is not as its record tells; empty when all is well. It is hashed only where that is needed."""
    if file is None or file.size == GONE:
        return f"{record.path}: missing"
    if file.size != record.size:
        return f"{record.path}: expected {record.size} bytes, found {file.size}"
    touched = record.mtime_ns != 0 and not same_time(record.mtime_ns, file.mtime_ns)
    touched = touched and record.size <= _HASHED_IF_TOUCHED_BYTES
    if (content or touched) and sha256() != record.sha256:
        return f"{record.path}: content changed since it was published"
    return ""
