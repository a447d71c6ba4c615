"""A root of sessions, wherever it lies.

:class:`SessionStore` is what the platform asks of a root; :class:`LocalStore` answers for a folder of this machine.
A remote root will answer the same calls by verified downloads into, and uploads from, its scratch folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import MissingInputError, SettingsError
from ..session import MESO_FOLDER, ListedFile, SessionKey, find_sessions
from .basis import Basis
from .manifest import MadeBy, Manifest
from .publishing import finish_publication, load_manifest, publish, published_assets
from .staging import Sealed, Staging


class SessionStore(Protocol):
    """What the platform asks of a root of sessions."""

    @property
    def root(self) -> str:
        """Root as a person wrote it: a path or a URL."""

    def sessions(self) -> tuple[SessionKey, ...]:
        """Return the keys of all sessions; raises :class:`MissingInputError` when the root cannot be listed."""

    def listing(self, key: SessionKey) -> tuple[ListedFile, ...]:
        """Return all files of a session but the platform's own records, sorted by path."""

    def local(self, key: SessionKey, paths: Iterable[str] = ()) -> Path:
        """Return the session as a local folder in which ``paths`` are present and verified."""

    def stage(self, key: SessionKey, asset: str, *, keep: bool = False) -> Staging:
        """Make the local folder in which an asset prepares its files."""

    def publish(
        self, key: SessionKey, sealed: Sealed, basis: Basis, made_by: MadeBy, *, places: str | None = None
    ) -> Manifest:
        """Publish sealed files; the manifest comes last."""

    def manifest(self, key: SessionKey, asset: str) -> Manifest | None:
        """Return the committed manifest of an asset, or None."""

    def published(self, key: SessionKey) -> tuple[str, ...]:
        """Return the names of the assets that have a manifest."""


@dataclass(frozen=True, slots=True)
class LocalStore:
    """Sessions below a folder of this machine (or of a mounted share)."""

    folder: Path

    @property
    def root(self) -> str:
        """The folder as text."""
        return str(self.folder)

    def sessions(self) -> tuple[SessionKey, ...]:
        """See :class:`SessionStore`."""
        return find_sessions(self.folder)

    def listing(self, key: SessionKey) -> tuple[ListedFile, ...]:
        """See :class:`SessionStore`."""
        base = self.local(key)
        listed = []
        for file in base.rglob("*"):
            relative = file.relative_to(base)
            if relative.parts[0] != MESO_FOLDER and file.is_file():
                stat = file.stat()
                listed.append(ListedFile(relative.as_posix(), stat.st_size, stat.st_mtime_ns))
        return tuple(sorted(listed, key=lambda f: f.path))

    def local(self, key: SessionKey, paths: Iterable[str] = ()) -> Path:
        """See :class:`SessionStore`; here the files themselves are handed out."""
        base = key.folder(self.folder)
        missing = [p for p in ("", *paths) if not (base / p).exists()]
        if missing:
            raise MissingInputError.at(
                base / missing[0],
                expected="a file or folder of the session",
                found="nothing there",
                remedy="Materialise the asset that makes it, or check MESO_ROOT",
            )
        return base

    def stage(self, key: SessionKey, asset: str, *, keep: bool = False) -> Staging:
        """See :class:`SessionStore`."""
        folder = self.local(key)
        finish_publication(folder, asset)  # that a kill interrupted, before its files are touched
        return Staging(folder, asset, keep=keep)

    def publish(
        self, key: SessionKey, sealed: Sealed, basis: Basis, made_by: MadeBy, *, places: str | None = None
    ) -> Manifest:
        """See :class:`SessionStore`."""
        return publish(self.local(key), sealed, basis, made_by, places=places)

    def published(self, key: SessionKey) -> tuple[str, ...]:
        """See :class:`SessionStore`."""
        return published_assets(key.folder(self.folder))

    def manifest(self, key: SessionKey, asset: str) -> Manifest | None:
        """See :class:`SessionStore`."""
        return load_manifest(key.folder(self.folder), asset)


def open_store(root: str | Path) -> SessionStore:
    """Open a root by its path or URL.

    Raises
    ------
    SettingsError
        If the URL's scheme is one that no store answers for.
    """
    text = str(root)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return LocalStore(Path(text).expanduser().absolute())
    if scheme == "file":
        return LocalStore(Path(rest).absolute())
    raise SettingsError.at(
        "MESO_ROOT",
        expected="a local folder (remote roots are not built yet)",
        found=text,
        remedy="Mount the storage and give its path",
    )
