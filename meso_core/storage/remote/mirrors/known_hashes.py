"""Hashes of files on a server that this machine has read: they are not read again when a session is looked at.

What belongs here: remembering, by path, size and the server's time. A deep audit does not ask here: it reads.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ....errors import InputFileError, MissingInputError
from ....json_text import json_text
from ....opening import RECORD_BYTES, read_plain
from ....session import MESO_FOLDER, ListedFile
from ...files.atomic import make_folder, storage_errors
from ...files.times import CLOCKS_DIFFER_S, YOUNG_S, is_young

#: Path, size and the server's time of a file, as it was listed.
_Listed = tuple[str, int, int]


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
        known, seen = self._all()
        if wanted in known:
            return known[wanted]
        began = time.time()
        sha256 = read()
        if not is_young(file.mtime_ns):
            # by a clock that is ahead of the server's: what it is some time after it was seen first is sure
            is_sure = not is_young(file.mtime_ns, ahead_s=CLOCKS_DIFFER_S) or began - seen.get(wanted, began) > YOUNG_S
            if is_sure or wanted not in seen:
                self._add([*wanted, sha256 if is_sure else began])
        return sha256

    def _add(self, line: list[str | int | float]) -> None:
        make_folder(self._file.parent)
        with storage_errors(self._file), self._file.open("ab") as lines:
            lines.write((json_text(line) + "\n").encode())

    def _all(self) -> tuple[dict[_Listed, str], dict[_Listed, float]]:
        """Read what is known, and when this machine saw first what is not sure yet, s since 1970."""
        known, seen = dict[_Listed, str](), dict[_Listed, float]()
        try:
            lines = read_plain(self._file, RECORD_BYTES).splitlines()
        except (MissingInputError, InputFileError):
            return known, seen
        for line in lines:
            try:
                path, size, mtime_ns, told = json.loads(line)
            except (ValueError, TypeError):  # two processes wrote at once, or one was killed: the file is read again
                continue
            if isinstance(told, str):
                known[path, size, mtime_ns] = told
            elif isinstance(told, float):
                seen.setdefault((path, size, mtime_ns), told)
        return known, seen
