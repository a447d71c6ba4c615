"""What is done with files of a root: look, read, write, copy, rename, remove, download, upload.

What belongs here: small files, and changes on the server. What does not: which files belong together.

An answer may be lost after the server has done what was asked: then the outcome is looked up, not asked for again.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from ...errors import StorageError
from ...session import ListedFile
from .download import Wanted, download, download_all
from .filesystem import RemoteRoot
from .looking import just_written, look, must_have, read_range, stat
from .upload import upload, upload_all

__all__ = [
    "Wanted",
    "copy",
    "download",
    "download_all",
    "move",
    "read_range",
    "read_small",
    "remove",
    "stat",
    "upload",
    "upload_all",
    "write_small",
]


def read_small(root: RemoteRoot, path: str, limit: int) -> bytes | None:
    """Read a small file whole; None where there is none.

    Raises
    ------
    StorageError
        If it has more than ``limit`` bytes, or the server refuses or does not answer.
    """
    try:
        content = read_range(root, path, 0, limit + 1)
    except FileNotFoundError:
        return None
    if len(content) > limit:
        raise StorageError.at(
            f"{root.url}/{path}",
            expected=f"at most {limit} bytes, as files of this kind have",
            found="more",
            remedy="Move it away from the root: it is not what its name says",
        )
    return content


def write_small(root: RemoteRoot, path: str, content: bytes, *, if_absent: bool = False) -> bool:
    """Write a small file, whole or not at all.

    Parameters
    ----------
    root, path, content
        Where, and what.
    if_absent
        Write only where there is none. ``content`` must then be unlike that of any other writer: when an answer is
        lost, it tells who has written.

    Returns
    -------
    bool
        False if there was one already, of somebody else.

    Raises
    ------
    StorageError
        If the server has no room, refuses or does not answer.
    """
    place = root.place(path)
    if root.call("write", path, lambda server: server.write(place, content, if_absent=if_absent)):
        return True
    seen = look(root, path)
    return seen is not None and seen.size == len(content) and read_small(root, path, seen.size) == content


def remove(root: RemoteRoot, paths: Iterable[str]) -> None:
    """Remove files; those that are not there are passed over.

    Raises
    ------
    StorageError
        If the server refuses or does not answer.
    """
    places = [root.place(path) for path in paths]
    if places:
        root.call("remove", root.path(places[0]), lambda server: server.remove(places))


def copy(root: RemoteRoot, source: str, target: str) -> ListedFile:
    """Copy a file on the server, over what is there; it takes its name when it is whole.

    Returns
    -------
    ListedFile
        The copy.

    Raises
    ------
    StorageError
        If there is no such file, or the server has no room, refuses or does not answer.
    """
    size = must_have(root, source).size
    root.call("copy", source, lambda server: server.copy(root.place(source), root.place(target), size))
    return just_written(root, target, size)


def move(root: RemoteRoot, source: str, target: str) -> ListedFile:
    """Rename a file, over what is there.

    Returns
    -------
    ListedFile
        The file under its new name.

    Raises
    ------
    StorageError
        If there is no such file, or the server refuses or does not answer.
    """
    size = must_have(root, source).size
    with suppress(FileNotFoundError):  # an earlier try was done, and its answer lost; else the look tells
        root.call("move", source, lambda server: server.move(root.place(source), root.place(target), size))
    return just_written(root, target, size)
