"""The content of a file on a server, read for its hash and not kept.

What belongs here: hashing by ranges, the next one on its way while one is hashed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

from ....errors import MissingInputError
from ..servers.filesystem import RemoteRoot
from ..servers.side_by_side import in_order
from .transfer import read_range, stat

#: Bytes of a piece, and how many are on their way or waiting.
_PIECE, _AHEAD = 1 << 23, 2


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
    pieces = (partial(read_range, root, path, start, _PIECE) for start in range(0, file.size, _PIECE))
    try:
        for piece in in_order(pieces, _AHEAD):
            digest.update(piece)
            read(len(piece))
    except FileNotFoundError:  # it was there a moment ago
        raise _missing(root, path) from None
    return digest.hexdigest()


def _missing(root: RemoteRoot, path: str) -> MissingInputError:
    remedy = "Bring it back, or run again what makes it"
    return MissingInputError.at(f"{root.url}/{path}", expected="a file", found="nothing there", remedy=remedy)
