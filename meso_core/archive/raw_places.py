"""Where the raw tifs of a session lie: in its folder, or on a server.

What belongs here: choosing one, for who removes tifs or brings them back.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import MesoError
from ..progress import Progress, silent
from ..storage import Session
from ..storage.roots.store import LocalStore
from .gate.folder import Folder
from .gate.place import Place


@contextmanager
def raw_place(session: Session, progress: Progress = silent) -> Iterator[Place]:
    """Give the place of a session's raw tifs, to plan and do their removal, and to restore them.

    Parameters
    ----------
    session
        The session.
    progress
        Told bytes that come from a server, and go there, besides those that each step tells.

    Yields
    ------
    Place
        Of a server, what it shows is gone when the block ends. Errors and warnings of the block name the session's
        own files.
    """
    if isinstance(session.store, LocalStore):
        yield Folder(session.path)
        return
    from ..storage.remote.sessions.store import RemoteStore
    from .gate.on_server.place import OnServer

    assert isinstance(session.store, RemoteStore)
    base = session.store.on_server(session.key).base
    with TemporaryDirectory(prefix="meso-gate-") as folder:
        shown = Path(folder, "session", *session.key.short_path.parts)
        place = OnServer(session.store, session.key, shown, base, session.path, progress)
        with _named(place):
            yield place


@contextmanager
def _named(place: Place) -> Iterator[None]:
    """Let errors and warnings name the session on its server."""
    told: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                yield
            finally:
                told = list(caught)
    except MesoError as error:
        error.args = tuple(place.named(str(text)) for text in error.args)
        raise
    finally:
        for one in told:
            warnings.warn_explicit(place.named(str(one.message)), one.category, one.filename, one.lineno)
