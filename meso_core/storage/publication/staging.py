"""Where an asset's files are made, and the seal that says which they are.

What belongs here: the staging folder of an asset, files hashed while they are written into it, and the sealed list of
them. What does not: how they become the published ones (``publishing``).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ...datasets import DatasetValue, check_fovs
from ...errors import StorageError
from ...session import MESO_FOLDER
from ..alf import write_datasets
from ..files.atomic import HashedFile, make_folder, replacing, storage_errors
from ..files.hashing import FileHash, hash_file, sync_folder
from ..manifests.basis import Basis
from ..manifests.manifest import FileRecord, MadeBy, Manifest, MissingFov, PackedFile, content_version


@dataclass(frozen=True, slots=True)
class Sealed:
    """Files of one asset, whole and on the disk, with their hashes: ready to be published."""

    asset: str
    #: Folder that mirrors the session.
    folder: Path
    #: Sorted by path.
    files: tuple[FileRecord, ...]
    #: What lies inside those of the files that are archives, by path below the session.
    contents: Mapping[str, tuple[PackedFile, ...]] = field(default_factory=dict)
    #: Name → number or text that sums up the result.
    facts: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    #: Paths of those files that are not in the folder, but have their places in the session already.
    left: frozenset[str] = frozenset()
    #: Field of view → why there is nothing of it.
    missing: Mapping[str, MissingFov] = field(default_factory=dict)
    #: Files at places of the asset that a person has changed and gives up, as they are now.
    given_up: tuple[FileRecord, ...] = ()

    @property
    def data_version(self) -> str:
        """Content version that the published result will have."""
        return content_version(self.files)

    def manifest(self, basis: Basis, made_by: MadeBy, *, session: str) -> Manifest:
        """Make the record with which the files are published now; it knows no other records yet."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Manifest(
            self.asset,
            self.files,
            basis,
            made_by,
            now,
            self.contents,
            session=session,
            facts=self.facts,
            missing=self.missing,
        )

    def source(self, path: str) -> Path:
        """Where a file is now, by its path below the session."""
        return (self.folder.parents[2] if path in self.left else self.folder) / path


class Staging:
    """The folder in which an asset prepares its files; it mirrors the session.

    Parameters
    ----------
    session_path
        Session folder; the staging folder lies in it, so that publishing is a rename.
    asset
        Asset name.
    keep
        Keep what an earlier, killed run or an earlier step left there; otherwise the folder is emptied.
    """

    def __init__(self, session_path: Path, asset: str, *, keep: bool = False) -> None:
        self.asset = asset
        self.folder = staging_path(session_path, asset)
        self._session_path = session_path
        self._known: dict[str, FileHash] = {}
        self._left: dict[str, FileHash] = {}
        self._given_up: tuple[FileRecord, ...] = ()
        with storage_errors(self.folder):
            if not keep and self.folder.exists():
                shutil.rmtree(self.folder)
        make_folder(self.folder)

    @contextmanager
    def open(self, path: str) -> Iterator[HashedFile]:
        """Open a file of the folder for writing, by its path below the session; it is hashed on the way."""
        with replacing(self.folder / path) as file:
            yield file
        self._known[path] = file.content

    def write(self, path: str, content: bytes) -> None:
        """Write a small file, by its path below the session."""
        with self.open(path) as file:
            file.write(content)

    def write_fovs(self, fovs: Mapping[str, Mapping[str, DatasetValue]], *, where: str) -> None:
        """Check the datasets of all FOVs, then write them below ``alf/``.

        Raises
        ------
        DatasetError
            If a value breaks the dataset table, with all problems of all FOVs; then nothing is written.
        """
        check_fovs(where, fovs)
        for fov, datasets in fovs.items():
            written = write_datasets(self.folder / "alf" / fov, datasets)
            self._known.update({f"alf/{fov}/{name}": content for name, content in written.items()})

    def know(self, content: Mapping[str, FileHash]) -> None:
        """Take over hashes of files, by path, that somebody else has put into the folder and flushed."""
        self._known.update(content)

    def leave(self, content: Mapping[str, FileHash]) -> None:
        """Count files of known content, by path, that have their places in the session and cannot be linked here.

        A file system without hard links can give such a file no second name, and a copy would double it.
        """
        self._left.update(content)

    def give_up(self, files: Iterable[FileRecord]) -> None:
        """Let files go that a person has changed where they are published; one that is another by then stays."""
        self._given_up += tuple(files)

    def seal(
        self,
        contents: Mapping[str, tuple[PackedFile, ...]] | None = None,
        facts: Mapping[str, str | int | float | bool] | None = None,
        missing: Mapping[str, MissingFov] | None = None,
    ) -> Sealed:
        """List the files of the folder with their hashes; what was not hashed while it was written is read now.

        Hidden files at any depth (``.name``) are working files and stay out.

        Raises
        ------
        StorageError
            If nothing is there, an entry is not a plain file, or a file is not as large as it was when it was hashed.
        """
        with storage_errors(self.folder):
            records = [self._record(path, self._session_path / path, content) for path, content in self._left.items()]
            for file in _staged_files(self.folder):
                path = file.relative_to(self.folder).as_posix()
                records.append(self._record(path, file, self._known.get(path) or hash_file(file, sync=True)))
            if not records:
                remedy = "Report this as a defect"
                raise StorageError.at(self.folder, expected=f"files of {self.asset}", found="none", remedy=remedy)
            for folder in {self.folder, *(p for p in self.folder.rglob("*") if p.is_dir() and not p.is_symlink())}:
                sync_folder(folder)
        in_order = tuple(sorted(records, key=lambda record: record.path))
        return Sealed(
            self.asset,
            self.folder,
            in_order,
            contents or {},
            facts or {},
            frozenset(self._left),
            missing or {},
            self._given_up,
        )

    def _record(self, path: str, file: Path, content: FileHash) -> FileRecord:
        with storage_errors(file):
            stat = file.stat()
        if stat.st_size != content.size:
            raise StorageError.at(
                file,
                expected=f"the {content.size} bytes that were written",
                found=f"{stat.st_size} bytes",
                remedy=f"Run {self.asset} again; no other program may write below {MESO_FOLDER}",
            )
        return FileRecord(path, content.size, content.sha256, content.md5, stat.st_mtime_ns)


def staging_path(session_path: Path, asset: str) -> Path:
    """Folder in which the files of an asset are prepared."""
    return session_path / MESO_FOLDER / "staging" / asset


def _staged_files(staged: Path) -> list[Path]:
    files = []
    for entry in sorted(staged.rglob("*")):
        relative = entry.relative_to(staged)
        if any(part.startswith(".") for part in relative.parts) or (entry.is_dir() and not entry.is_symlink()):
            continue
        if entry.is_symlink() or not entry.is_file():
            raise StorageError.at(
                entry, expected="a plain file", found="a link or a device", remedy="Stage a copy of the file"
            )
        files.append(entry)
    return files
