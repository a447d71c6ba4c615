"""The content of a file on a server, read for its hash and not kept.

What belongs here: hashing by ranges, the next one on its way while one is hashed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from ....errors import MissingInputError
from ..servers.filesystem import RemoteRoot
from .transfer import read_range, stat

_PIECE = 1 << 23


def streamed_sha256(root: RemoteRoot, path: str, read: Callable[[int], None] = lambda _: None) -> str:
    """SHA-256 of a file; ``read`` is told the bytes of each piece.

    Raises
    ------
    MissingInputError
        If there is no such file.
    StorageError
        If the server does not give it.
    """
    file = stat(root, path)
    if file is None:
        raise _missing(root, path)
    digest = hashlib.sha256()
    with ThreadPoolExecutor(1) as pool:
        starts = range(0, file.size, _PIECE)
        coming = pool.submit(read_range, root, path, 0, _PIECE) if file.size else None
        for start in starts:
            assert coming is not None
            try:
                piece = coming.result()
            except FileNotFoundError:  # it was there a moment ago
                raise _missing(root, path) from None
            if start + _PIECE < file.size:
                coming = pool.submit(read_range, root, path, start + _PIECE, _PIECE)
            digest.update(piece)
            read(len(piece))
    return digest.hexdigest()


def _missing(root: RemoteRoot, path: str) -> MissingInputError:
    remedy = "Bring it back, or run again what makes it"
    return MissingInputError.at(f"{root.url}/{path}", expected="a file", found="nothing there", remedy=remedy)
