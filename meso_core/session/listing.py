"""A session's files as a listing: the only look at raw data that is cheap.

What belongs here: an entry of a listing, and the version that follows from it. Who lists is in ``storage``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

#: Size of what is only a link, to a place where there is nothing: a disk is not mounted, for example.
GONE = -1


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One entry of a session's listing."""

    #: Path below the session, with forward slashes.
    path: str
    #: Bytes; of a link to nothing, :data:`GONE`.
    size: int
    #: Time of the last change, ns since 1970.
    mtime_ns: int
    #: Whether this is a link to the file; two entries that differ in this alone are equal.
    is_link: bool = field(default=False, compare=False)


def listing_version(files: Iterable[ListedFile]) -> str:
    """Hash of a listing (relative path, size, mtime): the data version of raw data, which nobody can afford to read."""
    lines = "".join(f"{f.path}\0{f.size}\0{f.mtime_ns}\n" for f in sorted(files, key=lambda f: f.path))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()  # names are bytes, UTF-8 or not
