"""Earlier versions of results on a server: listed, brought back, removed.

What belongs here: what ``storage.publication.versions`` does in a folder. How they are kept is in ``keeping``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ....progress import Progress, silent
from ....session import ListedFile, SessionKey
from ...manifests.manifest import FileRecord, Manifest
from ...publication.keeping import VERSIONS
from ...publication.publishing import load_manifest
from ...publication.versions import KeptVersion, chosen_of, not_whole, record_of, seal_restored, versions_among
from ..transfers.transfer import Wanted, download_all, remove
from .exclusive import alone
from .keeping import is_kept, version_place
from .publishing import RemoteSession, pending_of, roll_forward

if TYPE_CHECKING:
    from .store import RemoteStore


@dataclass(frozen=True, slots=True)
class RemoteVersions:
    """Earlier versions of the results of one session; see :class:`~meso_core.storage.roots.store.Versions`."""

    store: RemoteStore
    key: SessionKey

    def assets(self) -> tuple[str, ...]:
        """See :class:`~meso_core.storage.roots.store.Versions`."""
        session, _ = self.store.with_records(self.key)
        return tuple(sorted(_names(session.listing(), VERSIONS)))

    def listed(self, asset: str) -> tuple[KeptVersion, ...]:
        """See :class:`~meso_core.storage.roots.store.Versions`; from a listing, nothing is read."""
        session, _ = self.store.with_records(self.key)
        return self._among(asset, session.listing())

    def _among(self, asset: str, listing: Iterable[ListedFile]) -> tuple[KeptVersion, ...]:
        _, records = self.store.with_records(self.key)
        files = {file.path: file for file in listing}
        names = sorted(_names(files.values(), f"{VERSIONS}/{asset}"))

        def there(name: str, record: FileRecord) -> bool:
            return _place_of(files, asset, name, record) != ""

        return versions_among(records, asset, names, load_manifest(records, asset), there)

    def restore(
        self, asset: str, version: str, *, places: str | None, working_for: str = "", progress: Progress = silent
    ) -> Manifest:
        """See :class:`~meso_core.storage.roots.store.Versions`.

        Each file is fetched, compared with its hash, and published as a run would.
        """
        session, records = self.store.with_records(self.key)
        present = load_manifest(records, asset)
        if present is not None and version and present.data_version.startswith(version):
            return present
        listing = session.listing()
        files, where = {file.path: file for file in listing}, self.store.where(self.key)
        chosen = chosen_of(self._among(asset, listing), version, f"{where}, {asset}")
        kept = version_place(asset, chosen.data_version)
        manifest = record_of(chosen, f"{where}/{kept}")
        if chosen.lacking:
            raise not_whole(manifest, f"{where}/{kept}", "; ".join(f"{path}: missing" for path in chosen.lacking))
        staging = self.store.stage(self.key, asset)
        wanted = []
        for record in manifest.files:
            file = files[_place_of(files, asset, chosen.data_version, record)]
            target = staging.folder / record.path
            wanted.append(Wanted(session.place(file.path), target, record.size, file.mtime_ns, record.sha256))
        with self.store.scratch.room(records, manifest.total_bytes):
            download_all(session.root, wanted, progress=progress)
        staging.know({record.path: record.content for record in manifest.files})
        made = self.store.publish(
            self.key,
            seal_restored(staging, manifest),
            manifest.basis,
            manifest.made_by,
            places=places,
            progress=progress,
            keep=True,
            working_for=working_for,
        )
        with alone(session, asset, "meso versions restore") as insist:
            insist()
            _remove(session, session.listing(), [kept])  # it is the present one
        return made

    def clean(self, asset: str, n_kept: int) -> tuple[KeptVersion, ...]:
        """See :class:`~meso_core.storage.roots.store.Versions`."""
        session, records = self.store.with_records(self.key)
        if not _names(session.listing(), f"{VERSIONS}/{asset}"):
            return ()
        with alone(session, asset, "meso versions clean") as insist:
            for uploading in pending_of(session, asset):
                roll_forward(session, uploading)
            listing = session.listing()
            there = self._among(asset, listing)
            present = load_manifest(records, asset)
            staying = {version.data_version for version in there[:n_kept]}
            # what lies under the name of the present version was kept before it came back
            going = _names(listing, f"{VERSIONS}/{asset}") - staying - {present.data_version if present else ""}
            insist()
            _remove(session, listing, [version_place(asset, name) for name in sorted(going)])
        return there[n_kept:]


def _names(listing: Iterable[ListedFile], folder: str) -> set[str]:
    """Names of what lies in a folder."""
    start = f"{folder}/"
    return {file.path.removeprefix(start).split("/")[0] for file in listing if file.path.startswith(start)}


def _place_of(files: Mapping[str, ListedFile], asset: str, name: str, record: FileRecord) -> str:
    """Where a file of a kept version is: in the version's folder, or still at its place; empty where it is neither."""
    if is_kept(files, kept := version_place(asset, name, record.path), record):
        return kept
    file = files.get(record.path)
    # its place holds it where the server could give it no second name: then it was never written again
    same = file is not None and (file.size, file.mtime_ns) == (record.size, record.mtime_ns) and not file.is_link
    return record.path if same else ""


def _remove(session: RemoteSession, listing: Iterable[ListedFile], places: Collection[str]) -> None:
    """Remove versions; what a kill leaves of one is listed as lacking files, and goes the next time."""
    starts = tuple(places)
    gone = [file.path for file in listing if starts and file.path.startswith(starts)]
    remove(session.root, [session.place(path) for path in gone])
