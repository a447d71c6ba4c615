"""A session as everything above the storage sees it.

What belongs here: a key, its folder, and the store that keeps it, in one value. What does not: what the rig delivered
(``archive.delivered`` knows what became of it).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from ..errors import MesoWarning, StorageError
from ..opening import RandomFile
from ..progress import Progress, silent
from ..session import ListedFile, SessionKey
from .manifests.basis import Basis
from .manifests.manifest import MadeBy, Manifest
from .manifests.present import PresentFiles
from .publication.staging import Sealed, Staging
from .roots.store import SessionStore, Versions


@dataclass(frozen=True, slots=True)
class Session:
    """A session in a store."""

    key: SessionKey
    #: Its folder on this machine; of a remote root, what was fetched of it: what is there is asked of :meth:`present`.
    path: Path
    store: SessionStore

    def where(self, path: str = "") -> str:
        """Where a file of the session lies, for a person: a path, or a URL."""
        return self.store.where(self.key, path)

    def stage(self, asset: str, *, keep: bool = False) -> Staging:
        """Make the folder in which an asset prepares its files."""
        return self.store.stage(self.key, asset, keep=keep)

    def publish(
        self,
        sealed: Sealed,
        basis: Basis,
        made_by: MadeBy,
        *,
        places: str | None = None,
        progress: Progress = silent,
        keep: bool = False,
    ) -> Manifest:
        """Publish what an asset has prepared; ``keep`` asks that what is replaced be kept."""
        return self.store.publish(self.key, sealed, basis, made_by, places=places, progress=progress, keep=keep)

    def manifest(self, asset: str) -> Manifest | None:
        """Read what an asset has published, or None."""
        return self.store.manifest(self.key, asset)

    def manifests(self) -> dict[str, Manifest]:
        """Read what all assets have published, by asset; a damaged record is named by a MesoWarning and left out."""
        found = {}
        for asset, manifest in self.store.manifests(self.key).items():
            if isinstance(manifest, StorageError):
                warnings.warn(str(manifest), MesoWarning, stacklevel=2)
            else:
                found[asset] = manifest
        return found

    def present(self, listing: Iterable[ListedFile] | None = None) -> PresentFiles:
        """Look at the session's files; ``listing`` is that of the whole session, where the caller has it."""
        files = {file.path: file for file in (self.store.listing(self.key) if listing is None else listing)}
        return PresentFiles(files, lambda path: self.store.sha256_as_listed(self.key, files[path]))

    @property
    def versions(self) -> Versions:
        """Earlier versions of its results."""
        return self.store.versions(self.key)

    def fetch(self, paths: Iterable[str], progress: Progress = silent) -> Path:
        """Return the session's folder, in which these files are; of a local root they are there already."""
        return self.store.local(self.key, paths, progress)

    def opened(self, file: ListedFile) -> AbstractContextManager[RandomFile]:
        """Open a file as it was listed, to be read here and there; of a remote root, only what is read is fetched."""
        return self.store.opened(self.key, file)

    def hold(self) -> None:
        """Keep what is fetched of the session here while this process lives."""
        self.store.hold(self.key)

    def recording(self) -> AbstractContextManager[Path]:
        """Return the session's folder, to write small records into it; they are in the store when the block ends."""
        return self.store.recording(self.key)
