"""Looking at one file of a root, and reading parts of it.

What belongs here: what reading and writing share. What does not: whole files (``download``, ``upload``).
"""

from __future__ import annotations

from collections.abc import Sequence

from ....errors import StorageError
from ....session import ListedFile
from .backend import Backend, Seen
from .filesystem import RemoteRoot

#: Fewest bytes of a request that is made smaller after a cut.
_LEAST = 1 << 16


def stat(root: RemoteRoot, path: str) -> ListedFile | None:
    """Look at one file; None where there is none.

    Raises
    ------
    StorageError
        If the server refuses or does not answer.
    """
    seen = look(root, path)
    return None if seen is None else ListedFile(path, seen.size, seen.mtime_ns, seen.is_link)


def look(root: RemoteRoot, path: str) -> Seen | None:
    """Look at one file, with what the server calls its content."""
    try:
        return root.call("look at", path, lambda server: server.stat(root.place(path)))
    except FileNotFoundError:
        return None


def must_have(root: RemoteRoot, path: str) -> Seen:
    """Look at a file that must be there."""
    seen = look(root, path)
    if seen is None:
        raise missing(root, path)
    return seen


def missing(root: RemoteRoot, path: str) -> StorageError:
    """Make the error of a file that is not there."""
    remedy = "Bring it back, or run again what makes it"
    return StorageError.at(f"{root.url}/{path}", expected="a file", found="no such file", remedy=remedy)


def changed_since(root: RemoteRoot, path: str, listed: int, found: int) -> StorageError:
    """Make the error of a file that is not the one that was listed, by how many bytes it had and has."""
    return StorageError.at(
        f"{root.url}/{path}",
        expected=f"the file as it was listed, with {listed} bytes",
        found=f"it has changed since: {found} bytes",
        remedy="Wait until nobody writes it, and run again what is made from it",
    )


def just_written(root: RemoteRoot, path: str, size: int) -> ListedFile:
    """Look at a file that this process has just written: it must be there, with the right size.

    Raises
    ------
    StorageError
        If it is not.
    """
    seen = look(root, path)
    if seen is None or seen.size != size:
        found = "no file" if seen is None else f"{seen.size} bytes"
        remedy = "Look who else writes there, then run again"
        expected = f"the {size} bytes just written"
        raise StorageError.at(f"{root.url}/{path}", expected=expected, found=found, remedy=remedy)
    return ListedFile(path, seen.size, seen.mtime_ns)


def read_range(root: RemoteRoot, path: str, start: int, length: int) -> bytes:
    """Read a part of a file: fewer bytes where it ends before.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    StorageError
        If the server refuses or does not answer.
    """
    if length <= 0:
        return b""
    here, piece = bytearray(), length

    def read(server: Backend) -> bytes:
        nonlocal piece
        while len(here) < length:
            ask = min(piece, length - len(here))
            try:
                came = server.read(root.place(path), start + len(here), ask)
            except Exception:
                piece = max(_LEAST, piece // 4)  # less at a time gets further over a network that cuts often
                raise
            if not here and len(came) == length:  # as nearly always: no copy
                return came
            here.extend(came)
            if len(came) < ask:
                break
        return bytes(here)

    return root.call("read", path, read, moved=lambda: len(here))


def read_ranges(root: RemoteRoot, path: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Read parts (start, length) of a file, many at a time; raises as :func:`read_range`."""
    if not ranges:
        return []
    return root.call("read", path, lambda server: server.read_ranges(root.place(path), ranges))
