"""Hashes of files on a server that this machine has read: they are not read again when a session is looked at.

What belongs here: remembering, by path, size and the server's time. A deep audit does not ask here: it reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputFileError, MissingInputError
from ...json_text import json_text
from ...opening import RECORD_BYTES, read_plain
from ...session import MESO_FOLDER, ListedFile
from ..atomic import make_folder, storage_errors
from ..times import is_young


@dataclass(frozen=True, slots=True)
class KnownHashes:
    """Hashes of the files of one session; they lie in its mirror, a line each."""

    #: Folder of the mirror.
    folder: Path

    @property
    def _file(self) -> Path:
        return self.folder / MESO_FOLDER / "work" / "known_hashes.jsonl"

    def of(self, file: ListedFile, read: Callable[[], str]) -> str:
        """Return the SHA-256 of a file as it was listed; ``read`` gives it where it is not known."""
        wanted = (file.path, file.size, file.mtime_ns)
        if (known := self._all().get(wanted)) is not None:
            return known
        sha256 = read()
        if not is_young(file.mtime_ns):
            make_folder(self._file.parent)
            with storage_errors(self._file), self._file.open("ab") as lines:
                lines.write((json_text([*wanted, sha256]) + "\n").encode())
        return sha256

    def _all(self) -> dict[tuple[str, int, int], str]:
        try:
            lines = read_plain(self._file, RECORD_BYTES).splitlines()
        except (MissingInputError, InputFileError):
            return {}
        known = {}
        for line in lines:
            try:
                path, size, mtime_ns, sha256 = json.loads(line)
            except (ValueError, TypeError):  # two processes wrote at once, or one was killed: the file is read again
                continue
            known[path, size, mtime_ns] = sha256
        return known
