"""What one process at a time does in a session on a server: a publication, or writing records.

What belongs here: waiting for whoever does it now, and saying who that is. What a claim is, is in ``claims``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ....errors import StorageError
from ....session import MESO_FOLDER
from .claims import Holder, RemoteClaims
from .publishing import RemoteSession

#: How long to wait for somebody else's publication or record, and the time between two looks, s.
_WAIT_S, _LOOK_EVERY_S = 600.0, 0.5


@contextmanager
def alone(session: RemoteSession, name: str, who: str) -> Iterator[Callable[[], None]]:
    """Do something that one process at a time does.

    Parameters
    ----------
    session
        Where.
    name, who
        What is done, usually the name of an asset, and for what; shown to those that wait.

    Yields
    ------
    callable
        Insists that this process still is the one; raises a StorageError if it is not.

    Raises
    ------
    StorageError
        If somebody else does it for ten minutes, or the server does not answer.
    """
    claims = RemoteClaims(session.root, session.place(f"{MESO_FOLDER}/locks"), who)
    until = time.monotonic() + _WAIT_S
    try:
        while others := claims.take([name]):
            if time.monotonic() > until:
                raise _busy(session, name, others)
            time.sleep(_LOOK_EVERY_S)
        yield lambda: claims.insist(name)
    finally:
        with suppress(StorageError):  # the server is away, and the claim ends by itself
            claims.give_all_back()


def _busy(session: RemoteSession, name: str, others: tuple[Holder, ...]) -> StorageError:
    who = "; ".join(f"{holder.run_id}, {holder.process}, since {holder.process.since}" for holder in others)
    return StorageError.at(
        f"{session.root.url}/{session.base}",
        expected=f"nobody else at work on {name} for more than {_WAIT_S / 60:g} minutes",
        found=who,
        remedy=f"Wait until it ends, then run again. If it is gone for good, remove {others[0].path}",
    )
