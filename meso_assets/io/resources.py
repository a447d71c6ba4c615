"""What assets ask the platform for: the store of sessions and the settings.

What belongs here: the way from a Dagster context to a session's folder, its metadata and its staging folder.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from meso_core.archive import ARCHIVE_NAME, ZARR_NAME, load_removals, readable_records
from meso_core.errors import MissingInputError, problem
from meso_core.session import MESO_FOLDER, SessionKey
from meso_core.storage import ListedFile, Manifest, SessionStore, listing_version, open_store

from ..runs.settings import MesoSettings
from .raw_inputs import RAW_INPUTS, as_delivered, frames_among, read_by

#: Below these names lies what the rig delivers; everything else in a session folder is made by somebody.
_RAW_PREFIXES = ("raw_", "snapshots/", "reference/", "_ibl_experiment.description")
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

        Files that an asset put beside it do not count; tifs that are gone because their archive holds them do, as they
        were, so that archiving, removing and restoring make nothing stale. Metadata to which locations were added
        count as delivered.
        """
        listed = [file for file in self.store.listing(self.key) if file.path.startswith(_RAW_PREFIXES)]
        return as_delivered(listed, self.published_paths(), load_removals(self.path), readable_records(self.path))

    def raw_version(self, asset: str | None = None) -> str:
        """Digest the listing of the raw files that an asset reads; None: of those that any asset reads.

        The latter is the data version of the raw session.
        """
        return listing_version(read_by(asset, self.raw_files()))

    def frames_version(self) -> str:
        """Digest the listing of the frames alone, wherever they are kept at the moment."""
        return listing_version(frames_among(self.raw_files()))

    def raw_versions(self) -> dict[str, str]:
        """Return :meth:`raw_version` of all assets that read raw files and have some to read, with one look."""
        files = self.raw_files()
        return {asset: listing_version(found) for asset in RAW_INPUTS if (found := read_by(asset, files))}


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
        """Open a session by its partition key.

        Raises
        ------
        MissingInputError
            If there is no such session.
        """
        parsed = SessionKey.parse(key)
        try:
            return OpenSession(parsed, self.store.local(parsed), self.store)
        except MissingInputError as error:
            raise self._no_such_session(parsed) from error

    def _no_such_session(self, key: SessionKey) -> MissingInputError:
        there = [str(other) for other in self.store.sessions()]
        near = difflib.get_close_matches(str(key), there, n=3, cutoff=0.5)
        nearest = f"the nearest of the {len(there)} that are there: {', '.join(near)}" if near else ""
        return MissingInputError(
            problem(
                str(key),
                expected=f"a session below {self.store.root}",
                found="no such session" + (f"; {nearest}" if near else f" ({len(there)} others are there)"),
                remedy="Correct the name ([lab/Subjects/]subject/date/number), or MESO_ROOT",
            )
        )
