"""What assets ask the platform for: the store of sessions and the settings.

What belongs here: the way from a Dagster context to a session's folder, its metadata and its staging folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from meso_core.archive import ARCHIVE_NAME, ZARR_NAME, load_removals
from meso_core.session import MESO_FOLDER, SessionKey
from meso_core.storage import ListedFile, Manifest, SessionStore, listing_version, open_store

from .settings import MesoSettings

#: Below these names lies what the rig delivers; everything else in a session folder is made by somebody.
_RAW_PREFIXES = ("raw_", "snapshots/", "reference/", "_ibl_experiment.description")
#: Ending of the rig's metadata file where locations were added to it on demand.
_RIG_COPY = ".rig"
#: What of the imaging metadata holds for the whole session, brought up to date.
CONSOLIDATED_METADATA = "alf/_meso_rawImagingData.meta.json"
_MANIFESTS = f"{MESO_FOLDER}/manifests"


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session as the assets see it: a key, a local folder, and the store that keeps it."""

    key: SessionKey
    path: Path
    store: SessionStore

    def stage(self, asset: str, *, keep: bool = False) -> Path:
        """Make the folder in which an asset prepares its files."""
        return self.store.stage(self.key, asset, keep=keep)

    def manifest(self, asset: str) -> Manifest | None:
        """Read what an asset has published, or None."""
        return self.store.manifest(self.key, asset)

    def metadata(self) -> dict[str, Any]:
        """Imaging metadata of the session, as the asset ``imaging_metadata`` published them."""
        meta: dict[str, Any] = json.loads((self.path / CONSOLIDATED_METADATA).read_text())
        return meta

    @contextmanager
    def as_delivered(self) -> Iterator[Path]:
        """Show the session without the files that assets put beside those of the rig, in a folder of links."""
        beside_raw = (path for path in self.published_paths() if path.startswith(_RAW_PREFIXES))
        if all(ARCHIVE_NAME in path or ZARR_NAME in path for path in beside_raw):  # archives mislead nobody
            yield self.path
            return
        with TemporaryDirectory(prefix="meso-as-delivered-") as folder:
            view = Path(folder) / self.key.short_path
            for file in self.raw_files():
                (view / file.path).parent.mkdir(parents=True, exist_ok=True)
                (view / file.path).symlink_to(self.path / file.path)
            yield view

    def published_paths(self) -> set[str]:
        """Paths of all files that assets have published in this session."""
        folder = self.path / _MANIFESTS
        names = sorted(p.stem for p in folder.glob("[!.]*.json")) if folder.is_dir() else []
        return {file.path for name in names if (manifest := self.manifest(name)) for file in manifest.files}

    def raw_files(self) -> tuple[ListedFile, ...]:
        """List what the rig delivered.

        Files that an asset put beside it do not count; tifs that were removed because their archive holds them do, as
        they were, so that a removal makes nothing stale. Metadata to which locations were added count as delivered.
        """
        ours = self.published_paths()
        removed = {e.path: ListedFile(e.path, e.size, e.mtime_ns) for e in load_removals(self.path)}
        there = {
            file.path: file
            for file in self.store.listing(self.key)
            if file.path.startswith(_RAW_PREFIXES) and file.path not in ours
        }
        for path in [path for path in there if path.endswith(_RIG_COPY)]:  # metadata to which locations were added
            rig, original = there.pop(path), path.removesuffix(_RIG_COPY)
            there[original] = ListedFile(original, rig.size, rig.mtime_ns)
        return tuple(file for _, file in sorted({**removed, **there}.items()))

    def raw_version(self) -> str:
        """Digest the listing: the data version of the raw session."""
        return listing_version(self.raw_files())


@dataclass(frozen=True, slots=True)
class Platform:
    """The one resource of the assets."""

    settings: MesoSettings
    store: SessionStore

    @classmethod
    def open(cls, settings: MesoSettings) -> Platform:
        """Open the root that the settings name."""
        return cls(settings, open_store(settings.root))

    def session(self, key: str) -> OpenSession:
        """Open a session by its partition key."""
        parsed = SessionKey.parse(key)
        return OpenSession(parsed, self.store.local(parsed), self.store)
