"""A root of sessions, wherever it lies.

:class:`SessionStore` is what the platform asks of a root; :class:`LocalStore` answers for a folder of this machine.
A remote root will answer the same calls by verified downloads into, and uploads from, its scratch folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import MissingInputError, SettingsError, problem
from ..session import MESO_FOLDER, SessionKey, find_sessions
from .hashing import FileHash
from .manifest import Manifest, PackedFile, RunProvenance
from .publish import load_manifest, publish, stage_folder


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One entry of a session's listing."""

    #: Path below the session, with forward slashes.
    path: str
    size: int
    mtime_ns: int


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

    def stage(self, key: SessionKey, asset: str, *, keep: bool = False) -> Path:
        """Make the local folder in which an asset prepares its files."""

    def publish(
        self,
        key: SessionKey,
        asset: str,
        staged: Path,
        provenance: RunProvenance,
        *,
        known_hashes: Mapping[str, FileHash] | None = None,
        contents: Mapping[str, tuple[PackedFile, ...]] | None = None,
    ) -> Manifest:
        """Publish staged files; the manifest comes last."""

    def manifest(self, key: SessionKey, asset: str) -> Manifest | None:
        """Return the committed manifest of an asset, or None."""


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
            raise MissingInputError(
                problem(
                    base / missing[0],
                    expected="a file or folder of the session",
                    found="nothing there",
                    remedy="Materialise the asset that makes it, or check MESO_ROOT",
                )
            )
        return base

    def stage(self, key: SessionKey, asset: str, *, keep: bool = False) -> Path:
        """See :class:`SessionStore`."""
        return stage_folder(self.local(key), asset, keep=keep)

    def publish(
        self,
        key: SessionKey,
        asset: str,
        staged: Path,
        provenance: RunProvenance,
        *,
        known_hashes: Mapping[str, FileHash] | None = None,
        contents: Mapping[str, tuple[PackedFile, ...]] | None = None,
    ) -> Manifest:
        """See :class:`SessionStore`."""
        folder = self.local(key)
        return publish(folder, asset, staged, provenance, known_hashes=known_hashes, contents=contents)

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
    raise SettingsError(
        problem(
            "MESO_ROOT",
            expected="a local folder (remote roots are not built yet)",
            found=text,
            remedy="Mount the storage and give its path",
        )
    )


def listing_version(files: Iterable[ListedFile]) -> str:
    """Hash of a listing (relative path, size, mtime): the data version of raw data, which nobody can afford to read."""
    lines = "".join(f"{f.path}\0{f.size}\0{f.mtime_ns}\n" for f in sorted(files, key=lambda f: f.path))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()  # names are bytes, UTF-8 or not
