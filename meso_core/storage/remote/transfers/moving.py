"""Moving a file on a server to where nothing is: it is never in neither place, and nothing is overwritten or lost.

What belongs here: the steps of a move, and what a lost answer means. How a server does each is for its backend.

Where the server renames, a move is one step. Where it copies, the copy is read back and compared before the first is
removed, and the first is removed only if it is what was copied. A kill between the two leaves both.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ....errors import StorageError
from ..servers.backend import Seen
from ..servers.filesystem import RemoteRoot
from ..servers.reading import look, must_have
from .streaming import streamed_sha256


def silent_read(n: int) -> None:
    """Listen to the bytes of each piece, and do nothing."""


def move_to_new(
    root: RemoteRoot,
    source: str,
    target: str,
    *,
    sha256: str = "",
    insist: Callable[[], None] = lambda: None,
    copied: Callable[[Seen, str], None] = lambda *_: None,
    read: Callable[[int], None] = silent_read,
) -> bool:
    """Move a file to where nothing is.

    Parameters
    ----------
    root, source, target
        Where, and paths below the root.
    sha256
        Content that it has by the records: where the second has it, the first need not be read for a comparison.
    insist
        Called before each step that changes something: raises if this process may not go on.
    copied
        Told of the second file and its hash, once it was compared and before the first is removed; not called after a
        rename.
    read
        Told the bytes of each piece that is read.

    Returns
    -------
    bool
        False where there is something else; then nothing has changed. Where that has the same content, the first file
        is removed.

    Raises
    ------
    StorageError
        If there is no such file, it or the copy changed meanwhile, or the server refuses or does not answer.
    """
    seen = must_have(root, source)
    if root.backend.renames:
        return _rename(root, seen, source, target, insist)
    before = look(root, target)
    if before is not None and before.size != seen.size:
        return False
    if before is None:
        insist()
        with suppress(FileExistsError):  # perhaps by an earlier try, whose answer was lost: the content tells
            _copy(root, seen, source, target)
    there = must_have(root, target)
    found = streamed_sha256(root, target, read)
    if there.size != seen.size or (found != sha256 and found != streamed_sha256(root, source, read)):
        return _copy_is_another(root, there, source, target, was_there=before is not None)
    if look(root, target) != there:
        raise changed(root, target)
    copied(there, found)
    insist()
    remove_as_seen(root, source, seen)
    return True


def _copy(root: RemoteRoot, seen: Seen, source: str, target: str) -> None:
    there: list[FileExistsError] = []

    def ask() -> None:
        try:
            root.backend.copy_new(seen, root.place(target))
        except FileExistsError as error:
            there.append(error)

    try:
        root.call("copy", source, lambda _: ask())
    except FileNotFoundError:
        raise changed(root, source) from None
    if there:
        raise there[0]


def _copy_is_another(root: RemoteRoot, there: Seen, source: str, target: str, *, was_there: bool) -> bool:
    """Judge a second file that is not what it must be: somebody else's stays, a copy goes, and the first stays."""
    if was_there:
        return False
    # somebody else may have been faster than the copy: what lies there is not removed
    raise StorageError.at(
        f"{root.url}/{source}",
        expected="a copy with the same content",
        found=f"other content, in {root.url}/{target} ({there.size} bytes); the file itself was not changed",
        remedy=f"Compare the two and move {target} away, then run again",
    )


def _rename(root: RemoteRoot, seen: Seen, source: str, target: str, insist: Callable[[], None]) -> bool:
    taken = False

    def ask() -> None:
        nonlocal taken
        try:
            root.backend.move_new(root.place(source), root.place(target))
        except FileExistsError:
            taken = True

    insist()
    # an earlier try may have succeeded, and its answer been lost: where the file lies tells
    with suppress(FileNotFoundError):
        root.call("move", source, lambda _: ask())
    first, second = look(root, source), look(root, target)
    if first is None and second is not None and (second.size, second.mtime_ns) == (seen.size, seen.mtime_ns):
        return True
    if taken and first is not None:
        return False
    raise changed(root, source)


def remove_as_seen(root: RemoteRoot, path: str, seen: Seen) -> None:
    """Remove a file if it is the one that was seen.

    Raises
    ------
    StorageError
        If it is not; then it stays. Or if the server refuses or does not answer.
    """
    removed = False
    with suppress(FileNotFoundError):
        removed = root.call("remove", path, lambda server: server.remove_as_seen(seen))
    if not removed and look(root, path) is not None:  # else an earlier try did it, and its answer was lost
        raise changed(root, path)


def changed(root: RemoteRoot, path: str) -> StorageError:
    """Make the error of a file that somebody else writes."""
    return StorageError.at(
        f"{root.url}/{path}",
        expected="a file that nobody changes meanwhile",
        found="another one by now; it was not changed",
        remedy="Wait until nobody writes it, then run again",
    )
