"""A root of sessions, wherever it lies.

:class:`SessionStore` is what the platform asks of a root; :class:`LocalStore` answers for a folder of this machine.
:mod:`~meso_core.storage.remote.sessions.store` answers for a root on a server, by verified downloads into a scratch
folder and uploads from it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import Protocol, cast

from ...errors import StorageError
from ...machine import SCRATCH_GB
from ...opening import RandomFile, open_plain
from ...progress import Progress, silent
from ...session import ListedFile, SessionKey, Survey, labs_that_hold, no_root, survey_sessions
from ..files.atomic import storage_errors
from ..files.hashing import sha256_of
from ..files.listing import files_below, nothing_there
from ..manifests.basis import Basis
from ..manifests.manifest import MadeBy, Manifest
from ..publication.publishing import (
    finish_publication,
    kept_records,
    load_manifest,
    load_manifests,
    publish,
    published_assets,
)
from ..publication.staging import Sealed, Staging
from ..publication.versions import KeptVersion, LocalVersions, keep_present


class Versions(Protocol):
    """Earlier versions of the results of one session, which were kept when they were replaced."""

    def assets(self) -> tuple[str, ...]:
        """Return the names of the assets of which there may be some, sorted."""

    def listed(self, asset: str) -> tuple[KeptVersion, ...]:
        """List those of an asset, the one that was replaced last first."""

    def restore(
        self, asset: str, version: str, *, places: str | None, working_for: str = "", progress: Progress = silent
    ) -> Manifest:
        """Bring one back: a publication of its own, whose record names the one that it replaces.

        What is replaced is kept in turn. ``version`` is the start of its name; ``working_for`` is who claims the asset,
        where somebody does. Returns the record that counts then; where this version is the present one, nothing is
        done. Raises :class:`MissingInputError` or :class:`SettingsError` if there is no such version or
        more than one; :class:`StorageError` if a file of it is missing or is not what it was: then nothing was changed.
        """

    def clean(self, asset: str, n_kept: int) -> tuple[KeptVersion, ...]:
        """Remove those of an asset but for some, those replaced first before others; return those that are gone."""


class SessionRoots(Protocol):
    """What the platform asks of one root or several: which sessions there are, and in which root each lies."""

    @property
    def root(self) -> str:
        """Root as a person wrote it: a path or a URL; several have ``;`` between them."""

    @property
    def roots(self) -> tuple[str, ...]:
        """Each root, as :attr:`root` of its store."""

    def sessions(self) -> tuple[SessionKey, ...]:
        """Return the keys of all sessions; raises :class:`MissingInputError` when the root cannot be listed."""

    def survey(self) -> Survey:
        """Return the keys of all sessions, and the folders that were passed over; raises as :meth:`sessions`."""

    def labs_of(self, subject: str) -> tuple[str, ...]:
        """Return the labs that hold a subject, sorted; none where it is in no lab's folder, or not there.

        Raises :class:`MissingInputError` when the root cannot be listed.
        """

    def store_of(self, key: SessionKey) -> SessionStore:
        """Return the store of the root in which a session lies; of one root, that one, whether the session is there."""


class SessionStore(SessionRoots, Protocol):
    """What the platform asks of one root of sessions."""

    @property
    def is_local(self) -> bool:
        """Whether sessions are folders of this machine, or of a mounted share."""

    def where(self, key: SessionKey, path: str = "") -> str:
        """Return where a session, or a file of it, lies: a path, or a URL."""

    def holds(self, key: SessionKey) -> bool:
        """Whether the session's folder is there.

        Raises :class:`MissingInputError` or :class:`StorageError` when the root cannot be reached, and
        :class:`InputFileError` when there are two.
        """

    def listing(self, key: SessionKey) -> tuple[ListedFile, ...]:
        """Return all files of a session but the platform's own records, sorted by path."""

    def sha256(self, key: SessionKey, path: str, read: Callable[[int], None] = lambda _: None) -> str:
        """Return the SHA-256 of a file of a session; ``read`` is told the bytes of each block.

        Raises :class:`MissingInputError` when there is no such file; :class:`InputFileError`, :class:`StorageError` or
        :class:`OSError` when it cannot be read.
        """

    def sha256_as_listed(self, key: SessionKey, file: ListedFile) -> str:
        """Return the SHA-256 of a file as :meth:`sha256`, or one that is known of a file of this size and time."""

    def start_of(self, key: SessionKey, file: ListedFile, n_bytes: int) -> bytes:
        """Return the first bytes of a file as it was listed; of a remote root, no more of it is fetched."""

    def opened(self, key: SessionKey, file: ListedFile) -> AbstractContextManager[RandomFile]:
        """Open a file as it was listed, to be read here and there; of a remote root, only what is read is fetched.

        Raises :class:`MissingInputError` or :class:`InputFileError` when it cannot be opened; :class:`StorageError`
        when a server does not give it, or, at the end of the block, when it was changed meanwhile.
        """

    def is_here(self, key: SessionKey, file: ListedFile) -> bool:
        """Whether :meth:`local` would have nothing to fetch for a file as it was listed."""

    def hold(self, key: SessionKey) -> None:
        """Keep what :meth:`local` has brought here while this process lives; of a local root it stays anyway."""

    def recording(self, key: SessionKey) -> AbstractContextManager[Path]:
        """Return the session's folder, to write small records into it; they are in the store when the block ends."""

    def local(self, key: SessionKey, paths: Iterable[str] = (), progress: Progress = silent) -> Path:
        """Return the session as a local folder in which ``paths`` are present and verified.

        ``progress`` is told the bytes of what is downloaded.
        Of a remote root, the folder holds the platform's small records as well, and no other file for sure.
        """

    def stage(self, key: SessionKey, asset: str, *, keep: bool = False) -> Staging:
        """Make the local folder in which an asset prepares its files."""

    def publish(
        self,
        key: SessionKey,
        sealed: Sealed,
        basis: Basis,
        made_by: MadeBy,
        *,
        places: str | None = None,
        progress: Progress = silent,
        keep: bool = False,
    ) -> Manifest:
        """Publish sealed files; the manifest comes last. ``progress`` is told the bytes of what is uploaded.

        ``keep`` asks that the files of the result that is replaced be kept.
        """

    def manifest(self, key: SessionKey, asset: str) -> Manifest | None:
        """Return the committed manifest of an asset, or None."""

    def manifests(self, key: SessionKey) -> Mapping[str, Manifest | StorageError]:
        """Return the manifests of all assets, or what is wrong with those that cannot be read."""

    def history(self, key: SessionKey) -> Mapping[str, Mapping[str, str]]:
        """Return the manifests that were replaced: asset → digest by which each is named → its text."""

    def published(self, key: SessionKey) -> tuple[str, ...]:
        """Return the names of the assets that have a manifest."""

    def versions(self, key: SessionKey) -> Versions:
        """Return the earlier versions of a session's results."""


@dataclass(frozen=True, slots=True)
class LocalStore:
    """Sessions below a folder of this machine (or of a mounted share)."""

    folder: Path

    def _folder(self, key: SessionKey) -> Path:
        with storage_errors(self.folder):  # a share whose server is gone
            return key.folder(self.folder)

    @property
    def root(self) -> str:
        """The folder as text."""
        return str(self.folder)

    @property
    def roots(self) -> tuple[str, ...]:
        """See :class:`SessionRoots`."""
        return (self.root,)

    def store_of(self, key: SessionKey) -> SessionStore:  # noqa: ARG002  there is one
        """See :class:`SessionRoots`."""
        return self

    @property
    def is_local(self) -> bool:
        """See :class:`SessionStore`."""
        return True

    def holds(self, key: SessionKey) -> bool:
        """See :class:`SessionStore`."""
        folder = self._folder(key)
        with storage_errors(self.folder):
            if folder.is_dir():
                return True
            if not self.folder.is_dir():
                raise no_root(self.root, "no such folder")
        return False

    def where(self, key: SessionKey, path: str = "") -> str:
        """See :class:`SessionStore`."""
        return str(self._folder(key) / path)

    def sessions(self) -> tuple[SessionKey, ...]:
        """See :class:`SessionStore`."""
        return self.survey().sessions

    def survey(self) -> Survey:
        """See :class:`SessionStore`."""
        return survey_sessions(self.folder)

    def labs_of(self, subject: str) -> tuple[str, ...]:
        """See :class:`SessionStore`."""
        return labs_that_hold(self.folder, subject)

    def listing(self, key: SessionKey) -> tuple[ListedFile, ...]:
        """See :class:`SessionStore`."""
        return files_below(self.local(key))

    def sha256(self, key: SessionKey, path: str, read: Callable[[int], None] = lambda _: None) -> str:
        """See :class:`SessionStore`."""
        return sha256_of(self._folder(key) / path, read)

    def sha256_as_listed(self, key: SessionKey, file: ListedFile) -> str:
        """See :class:`SessionStore`; here the file is read."""
        return self.sha256(key, file.path)

    def start_of(self, key: SessionKey, file: ListedFile, n_bytes: int) -> bytes:
        """See :class:`SessionStore`."""
        with open_plain(self._folder(key) / file.path) as opened:
            return opened.read(n_bytes)

    def opened(self, key: SessionKey, file: ListedFile) -> AbstractContextManager[RandomFile]:
        """See :class:`SessionStore`."""
        return cast("FileIO", open_plain(self._folder(key) / file.path, buffering=0))

    def is_here(self, key: SessionKey, file: ListedFile) -> bool:  # noqa: ARG002  all are
        """See :class:`SessionStore`."""
        return True

    def hold(self, key: SessionKey) -> None:
        """See :class:`SessionStore`."""

    @contextmanager
    def recording(self, key: SessionKey) -> Iterator[Path]:
        """See :class:`SessionStore`; here the records themselves are written."""
        yield self.local(key)

    def local(self, key: SessionKey, paths: Iterable[str] = (), progress: Progress = silent) -> Path:  # noqa: ARG002
        """See :class:`SessionStore`; here the files themselves are handed out."""
        base = self._folder(key)
        with storage_errors(base):
            missing = [p for p in paths if not (base / p).exists()] if base.exists() else [""]
        if missing:
            raise nothing_there(base / missing[0])
        return base

    def stage(self, key: SessionKey, asset: str, *, keep: bool = False) -> Staging:
        """See :class:`SessionStore`."""
        folder = self.local(key)
        finish_publication(folder, asset)  # that a kill interrupted, before its files are touched
        return Staging(folder, asset, keep=keep)

    def publish(
        self,
        key: SessionKey,
        sealed: Sealed,
        basis: Basis,
        made_by: MadeBy,
        *,
        places: str | None = None,
        progress: Progress = silent,  # noqa: ARG002  a rename is done at once
        keep: bool = False,
    ) -> Manifest:
        """See :class:`SessionStore`."""
        folder = self.local(key)
        if keep:
            keep_present(folder, sealed.asset)
        return publish(folder, sealed, basis, made_by, places=places, session=str(key))

    def manifests(self, key: SessionKey) -> Mapping[str, Manifest | StorageError]:
        """See :class:`SessionStore`."""
        return load_manifests(self._folder(key))

    def history(self, key: SessionKey) -> Mapping[str, Mapping[str, str]]:
        """See :class:`SessionStore`."""
        return kept_records(self._folder(key))

    def published(self, key: SessionKey) -> tuple[str, ...]:
        """See :class:`SessionStore`."""
        return published_assets(self._folder(key))

    def manifest(self, key: SessionKey, asset: str) -> Manifest | None:
        """See :class:`SessionStore`."""
        return load_manifest(self._folder(key), asset)

    def versions(self, key: SessionKey) -> LocalVersions:
        """See :class:`SessionStore`."""
        return LocalVersions(self.local(key), str(key))


def open_store(root: str | Path, *, scratch: Path | None = None, scratch_gb: float = SCRATCH_GB) -> SessionStore:
    """Open a root by its path or URL.

    Parameters
    ----------
    root
        Folder, or ``s3://bucket/prefix``, ``sftp://[user@]host[:port]/path``, ``memory://name``.
    scratch
        Folder of this machine for what is fetched from a remote root; by default, one of the user's cache.
    scratch_gb
        How much of it may be filled, GB.

    Raises
    ------
    SettingsError
        If the URL's scheme is one that no store answers for, or its server cannot be used.
    """
    text = str(root)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return LocalStore(Path(text).expanduser().absolute())
    if scheme == "file":
        return LocalStore(Path(rest).absolute())
    return _remote_store(text, scratch or Path("~/.cache/meso/scratch").expanduser(), scratch_gb, os.getpid())


def open_roots(
    roots: Sequence[str | Path], *, scratch: Path | None = None, scratch_gb: float = SCRATCH_GB
) -> SessionRoots:
    """Open one root or several; parameters and errors as of :func:`open_store`."""
    if len(roots) == 1:
        return open_store(roots[0], scratch=scratch, scratch_gb=scratch_gb)
    return _joined(tuple(map(str, roots)), scratch, scratch_gb, os.getpid())


@lru_cache(maxsize=8)
def _joined(roots: tuple[str, ...], scratch: Path | None, scratch_gb: float, process: int) -> SessionRoots:  # noqa: ARG001  as below
    from .joined import JoinedRoots

    def opened(root: str) -> SessionStore:
        return open_store(root, scratch=scratch, scratch_gb=scratch_gb)

    return JoinedRoots(tuple(root if "://" in root else opened(root).root for root in roots), opened)


@lru_cache(maxsize=8)
def _remote_store(url: str, scratch: Path, scratch_gb: float, process: int) -> SessionStore:  # noqa: ARG001  connections are not inherited
    from ..remote.mirrors.scratch import Scratch
    from ..remote.servers.filesystem import open_root
    from ..remote.sessions.store import RemoteStore

    return RemoteStore(open_root(url), Scratch(scratch.absolute(), int(scratch_gb * 1e9)))
