"""What is done with files of a root: look, read, write, put in place, remove, download, upload.

What belongs here: small files, and changes on the server. What does not: which files belong together.

An answer may be lost after the server has done what was asked: then the outcome is looked up, not asked for again.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from ....errors import StorageError
from ....session import ListedFile
from ..servers.filesystem import RemoteRoot
from ..servers.reading import just_written, must_have, read_range, stat
from .download import Wanted, download, download_all
from .upload import upload, upload_all

__all__ = [
    "Wanted",
    "download",
    "download_all",
    "put_in_place",
    "read_range",
    "read_small",
    "remove",
    "second_name",
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


def write_small(root: RemoteRoot, path: str, content: bytes) -> None:
    """Write a small file, whole or not at all, over what is there.

    Raises
    ------
    StorageError
        If the server has no room, refuses or does not answer.
    """
    place = root.place(path)
    root.call("write", path, lambda server: server.write(place, content))


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


def second_name(root: RemoteRoot, source: str, target: str) -> bool:
    """Give a file a second name, or a copy, on the server; False where the server can do neither.

    Raises
    ------
    StorageError
        If there is no such file, or the server has no room, refuses or does not answer.
    """
    size = must_have(root, source).size
    done = root.call("copy", source, lambda server: server.second_name(root.place(source), root.place(target)))
    if done:
        just_written(root, target, size)
    return done


def put_in_place(root: RemoteRoot, source: str, target: str) -> ListedFile:
    """Give a file that was uploaded its place, over what is there; it may keep its first name too.

    Returns
    -------
    ListedFile
        The file at its place.

    Raises
    ------
    StorageError
        If there is no such file, or the server has no room, refuses or does not answer.
    """
    size = must_have(root, source).size
    # an earlier try may have succeeded, and its answer been lost; if not, the look at the end shows it
    with suppress(FileNotFoundError):
        root.call("give a place to", source, lambda server: server.put_in_place(root.place(source), root.place(target)))
    return just_written(root, target, size)
