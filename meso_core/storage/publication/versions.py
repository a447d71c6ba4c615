"""Earlier versions of results: those that were kept when they were replaced.

What belongs here: listing them, bringing one back as a publication of its own, removing old ones. How they are kept is
in ``keeping``.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from ...errors import MissingInputError, SettingsError, StorageError
from ...opening import is_there
from ...progress import Progress, silent
from ..files.atomic import link_or_copy, make_folder, storage_errors
from ..files.deferred_renames import replace_name
from ..files.hashing import sync_folder
from ..manifests.manifest import FileRecord, Manifest, record_digest
from ..manifests.ownership import verify_file
from .keeping import ask_to_keep, kept_at, versions_folder
from .publishing import (
    asset_lock,
    committed_manifest,
    finish_publication,
    kept_records,
    load_manifest,
    publish,
)
from .staging import Sealed, Staging

#: Fact of a result that was brought back: start of the digest of the record that it had.
_RESTORED = "restored_record"
_NAME = re.compile("[0-9a-f]{64}")
#: Start of the name of a version that is being removed.
_GOING = ".going-"


@dataclass(frozen=True, slots=True)
class KeptVersion:
    """One version of an asset's files that is not the present one."""

    asset: str
    data_version: str
    #: The last record that had this content; None where the history of records does not hold it.
    manifest: Manifest | None
    #: The record that replaced it; None where that is not known.
    replaced_by: Manifest | None
    #: Paths of the files that were not kept, or are not what they were.
    lacking: tuple[str, ...]

    @property
    def total_bytes(self) -> int:
        """Bytes of the files that are there."""
        files = self.manifest.files if self.manifest else ()
        return sum(file.size for file in files if file.path not in self.lacking)

    @property
    def why_replaced(self) -> str:
        """One line: what was different in what came after."""
        if self.manifest is None or self.replaced_by is None:
            return "not known: its record is not there"
        if _RESTORED in self.replaced_by.facts:
            return f"version {self.replaced_by.data_version[:12]} was restored"
        found = list(self.manifest.basis.differences(self.replaced_by.basis))
        before, after = dict(self.manifest.made_by.options), dict(self.replaced_by.made_by.options)
        if before != after:
            found.append(f"options of the run: {before or 'none'} → {after or 'none'}")
        return "; ".join(found) or "made again from the same"


def keep_present(session_path: Path, asset: str) -> None:
    """Ask that what an asset has published now is kept when it is replaced."""
    present = load_manifest(session_path, asset)
    if present is not None:
        ask_to_keep(session_path, present)


def versions_among(
    session_path: Path,
    asset: str,
    names: Collection[str],
    present: Manifest | None,
    is_kept: Callable[[str, FileRecord], bool],
) -> tuple[KeptVersion, ...]:
    """Tell which of some folders hold kept versions of an asset, the one that was replaced last first.

    Parameters
    ----------
    session_path
        Folder with the records of the session.
    asset, names
        Which asset, and the names of the folders.
    present
        What the asset has published now.
    is_kept
        Tells, by the name of a version, whether a file of it is there.
    """
    records = _records(session_path, asset, present) if names else []
    found = []
    for name in names:
        if not _NAME.fullmatch(name) or (present is not None and name == present.data_version):
            continue
        ranks = [rank for rank, (manifest, _) in enumerate(records) if manifest.data_version == name]
        rank = ranks[0] if ranks else len(records)
        manifest, replaced_by = records[rank] if ranks else (None, None)
        files = manifest.files if manifest else ()
        lacking = tuple(file.path for file in files if not is_kept(name, file))
        if manifest is None or len(lacking) < len(files):
            found.append((rank, KeptVersion(asset, name, manifest, replaced_by, lacking)))
    return tuple(version for _, version in sorted(found, key=lambda one: (one[0], one[1].data_version)))


def _entries(folder: Path) -> list[Path]:
    """List a folder of versions, sorted; one that is not there holds none."""
    with storage_errors(folder):
        return sorted(folder.iterdir()) if folder.is_dir() else []


def _records(session_path: Path, asset: str, present: Manifest | None) -> list[tuple[Manifest, Manifest | None]]:
    """List the records of an asset, each with the one that replaced it: the present one first."""
    known: dict[str, Manifest] = {}
    for digest, text in kept_records(session_path).get(asset, {}).items():
        try:
            manifest = Manifest.from_json(text, f"{asset}, {digest[:12]}")
        except StorageError:  # told by the audit
            continue
        if record_digest(text) == digest:
            known[digest] = manifest
    records: list[tuple[Manifest, Manifest | None]] = []
    step, newer = present, None
    while step is not None:
        records.append((step, newer))
        newer = step
        step = known.pop(step.chain.previous, None)
    return records + [(manifest, None) for _, manifest in sorted(known.items())]


def seal_restored(staging: Staging, manifest: Manifest) -> Sealed:
    """Seal the files of a version that is brought back, with all that its record tells of them."""
    facts = {**manifest.facts, _RESTORED: manifest.digest[:12]}
    return staging.seal(manifest.contents, facts, manifest.missing)


def chosen_of(there: Collection[KeptVersion], version: str, where: str) -> KeptVersion:
    """Choose the version whose name begins so.

    Raises
    ------
    MissingInputError, SettingsError
        If there is none, or more than one.
    """
    found = [one for one in there if version and one.data_version.startswith(version)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(one.data_version[:12] for one in there) or "none"
    remedy = "Name one that `meso versions` lists"
    if found:
        raise SettingsError.at(
            where, expected="one version", found=f"{version!r} is the start of {listed}", remedy=remedy
        )
    raise MissingInputError.at(
        where, expected=f"a kept version {version!r}", found=f"kept are: {listed}", remedy=remedy
    )


def record_of(version: KeptVersion, where: str) -> Manifest:
    """Return the record of a version, which must be there."""
    if version.manifest is not None:
        return version.manifest
    raise StorageError.at(
        where,
        expected="its record in .meso/manifests/history",
        found="none that is as it was",
        remedy="Bring the record back from a backup",
    )


def not_whole(manifest: Manifest, where: str, found: str) -> StorageError:
    """Make the error of a version whose files are not all there as they were."""
    return StorageError.at(
        where,
        expected=f"the {len(manifest.files)} files of run {manifest.made_by.run_id[:8]}",
        found=found,
        remedy="Bring these files back from a backup, or choose another version",
    )


def _remove(place: Path) -> None:
    """Remove a version: it loses its name first, so that what a kill leaves is not taken for one."""
    going = place.with_name(f"{_GOING}{place.name}")
    with storage_errors(place):
        if not is_there(place):
            return
        if going.exists():
            shutil.rmtree(going)
        replace_name(place, going)
        sync_folder(place.parent)
        shutil.rmtree(going)


@dataclass(frozen=True, slots=True)
class LocalVersions:
    """Earlier versions of results of a session in its folder; see :class:`~meso_core.storage.roots.store.Versions`."""

    folder: Path
    #: Key of the session in its store.
    session: str

    def assets(self) -> tuple[str, ...]:
        """See :class:`~meso_core.storage.roots.store.Versions`."""
        folder = versions_folder(self.folder, "x").parent
        with storage_errors(folder):
            return tuple(entry.name for entry in _entries(folder) if entry.is_dir())

    def listed(self, asset: str) -> tuple[KeptVersion, ...]:
        """See :class:`~meso_core.storage.roots.store.Versions`."""
        return self._listed(asset, load_manifest(self.folder, asset))

    def _listed(self, asset: str, present: Manifest | None) -> tuple[KeptVersion, ...]:
        folder = versions_folder(self.folder, asset)
        return versions_among(
            self.folder,
            asset,
            [place.name for place in _entries(folder)],
            present,
            lambda name, file: kept_at(self.folder, folder / name, file) is not None,
        )

    def restore(
        self,
        asset: str,
        version: str,
        *,
        places: str | None,
        working_for: str = "",  # noqa: ARG002  here the lock is asked
        progress: Progress = silent,  # noqa: ARG002  a rename is done at once
    ) -> Manifest:
        """See :class:`~meso_core.storage.roots.store.Versions`; a kill leaves the present or the restored one."""
        present = load_manifest(self.folder, asset)
        if present is not None and version and present.data_version.startswith(version):
            return present
        manifest, kept = self._whole(chosen_of(self.listed(asset), version, f"{self.folder}, {asset}"))
        staging = Staging(self.folder, asset)
        for record in manifest.files:
            if not is_there(kept / record.path):  # it has stayed at its place
                staging.leave({record.path: record.content})
                continue
            target = staging.folder / record.path
            make_folder(target.parent)
            with storage_errors(target):
                link_or_copy(kept / record.path, target)
            staging.know({record.path: record.content})
        sealed = seal_restored(staging, manifest)
        if present is not None:
            ask_to_keep(self.folder, present)
        made = publish(self.folder, sealed, manifest.basis, manifest.made_by, places=places, session=self.session)
        with asset_lock(self.folder, asset):
            _remove(kept)  # it is the present one: one name for each file
        return made

    def _whole(self, version: KeptVersion) -> tuple[Manifest, Path]:
        """Insist that all files of a version are there, each with its content."""
        folder = versions_folder(self.folder, version.asset) / version.data_version
        manifest = record_of(version, str(folder))
        places = [kept_at(self.folder, folder, record) or folder / record.path for record in manifest.files]
        wrong = [verify_file(at, record, content=True) for at, record in zip(places, manifest.files, strict=True)]
        if found := [sentence for sentence in wrong if sentence]:
            raise not_whole(manifest, str(folder), "; ".join(found))
        return manifest, folder

    def clean(self, asset: str, n_kept: int) -> tuple[KeptVersion, ...]:
        """See :class:`~meso_core.storage.roots.store.Versions`; what a kill left of an earlier removal goes too."""
        folder = versions_folder(self.folder, asset)
        finish_publication(self.folder, asset)
        if not _entries(folder):
            return ()
        with asset_lock(self.folder, asset):
            present = committed_manifest(self.folder, asset)
            there = self._listed(asset, present)
            # the folder of the present version asks that it be kept
            staying = {version.data_version for version in there[:n_kept]} | {present.data_version if present else ""}
            for place in _entries(folder):
                if place.name.startswith(_GOING):
                    with storage_errors(place):
                        shutil.rmtree(place)
                elif _NAME.fullmatch(place.name) and place.name not in staying:
                    _remove(place)
        return there[n_kept:]
