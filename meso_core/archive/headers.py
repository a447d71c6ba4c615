"""The headers of raw tifs, wherever these lie: of tifs on a server, their pixels are not fetched.

What belongs here: which tifs are read from where. What does not: what their headers mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..scanimage import ScanImageTif
from ..session import GONE, ListedFile, RawFiles, is_tif
from ..storage import Session
from .delivered import delivered_view


@dataclass(frozen=True, slots=True)
class HeadersView:
    """Raw files as a session folder, in which tifs that are elsewhere have an index and no content.

    Attributes
    ----------
    folder
        See :func:`~meso_core.archive.delivered.delivered_view`.
    """

    folder: Path
    _session: Session
    #: Tifs that are not on this machine, by path below the session.
    _elsewhere: Mapping[str, ListedFile]
    _indices: dict[Path, ScanImageTif] = field(default_factory=dict)

    def index(self, tif: Path) -> ScanImageTif:
        """Index a tif of the folder, once; see :class:`~meso_core.scanimage.ScanImageTif` for what is raised."""
        if tif not in self._indices:
            self._indices[tif] = self._index(tif)
        return self._indices[tif]

    def _index(self, tif: Path) -> ScanImageTif:
        file = self._elsewhere.get(tif.relative_to(self.folder).as_posix())
        if file is None:
            return ScanImageTif(tif)
        with self._session.opened(file) as opened:
            return ScanImageTif(tif, opened)


@contextmanager
def headers_view(
    session: Session, listing: Iterable[ListedFile], raw: RawFiles, *more: RawFiles
) -> Iterator[HeadersView]:
    """Show raw files as :func:`~meso_core.archive.delivered.delivered_view`, with tifs that are not fetched.

    Parameters
    ----------
    session
        The session.
    listing
        All its files that are there.
    raw, more
        Raw files, by kind; those that are no tifs are on this machine.
    """
    tifs = (file for file in listing if is_tif(file.path) and file.size != GONE)
    elsewhere = {file.path: file for file in tifs if not session.store.is_here(session.key, file)}
    with delivered_view(raw, *more, elsewhere=elsewhere, where=session.where()) as folder:
        yield HeadersView(folder, session, elsewhere)
