"""Publishing: a result appears whole or not at all.

The steps, and what a kill between them leaves:

1. files are made in a staging folder of the same file system, flushed and hashed: a kill leaves the previous version
2. the new manifest is written as *pending*: from here on a kill leaves the new version, rolled forward when next opened
3. files are renamed into place; those that the old manifest had and the new has not are removed
4. the pending manifest is renamed to its final name
"""

from __future__ import annotations

import errno
import fcntl
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from ..errors import StorageError, problem
from ..session import MESO_FOLDER
from .hashing import FileHash, hash_file, sync_file, sync_folder, write_atomically
from .manifest import FileRecord, Manifest, PackedFile, RunProvenance


def stage_folder(session_path: Path, asset: str, *, keep: bool = False) -> Path:
    """Make the folder in which an asset's new files are prepared.

    Parameters
    ----------
    session_path
        Session folder; the staging folder lies in it, so that publishing is a rename.
    asset
        Asset name.
    keep
        Keep what an earlier, killed run left there (for work that resumes); otherwise the folder is emptied.

    Returns
    -------
    pathlib.Path
        A folder that mirrors the session: ``alf/FOV_00/…`` in it goes to ``alf/FOV_00/…`` of the session.
    """
    load_manifest(session_path, asset)  # finishes a publication that a kill interrupted, before its files are touched
    folder = session_path / MESO_FOLDER / "staging" / asset
    if not keep and folder.exists():
        shutil.rmtree(folder)
    _create(folder)
    return folder


def publish(
    session_path: Path,
    asset: str,
    staged: Path,
    provenance: RunProvenance,
    *,
    known_hashes: Mapping[str, FileHash] | None = None,
    contents: Mapping[str, tuple[PackedFile, ...]] | None = None,
) -> Manifest:
    """Move staged files into the session and commit them with a manifest.

    Parameters
    ----------
    session_path
        Session folder.
    asset
        Asset name.
    staged
        Folder from :func:`stage_folder`; hidden files at any depth (``.name``) are working files and stay out.
    provenance
        How the files were made.
    known_hashes
        Hashes that were computed while writing, by path below ``staged``; such files are not read again.
    contents
        What lies inside those of the files that are archives, by path below ``staged``.

    Returns
    -------
    Manifest
        The committed record.

    Raises
    ------
    StorageError
        If nothing is staged, a staged entry is not a plain file, or the disk refuses.
    """
    known = known_hashes or {}
    records = []
    for file in _staged_files(staged):
        path = file.relative_to(staged).as_posix()
        if path in known:
            sync_file(file)
        content = known.get(path) or hash_file(file, sync=True)
        records.append(FileRecord(path, content.size, content.sha256, content.md5))
    if not records:
        raise StorageError(
            problem(staged, expected=f"files of asset {asset}", found="none", remedy="Report this as a defect")
        )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = Manifest(asset, tuple(records), provenance, now, contents or {})
    with _locked(session_path, asset):
        write_atomically(_pending_path(session_path, asset), manifest.to_json().encode())
        _roll_forward(session_path, asset)
    shutil.rmtree(staged)
    return manifest


def load_manifest(session_path: Path, asset: str) -> Manifest | None:
    """Read the committed manifest of an asset, or None where the asset was never published.

    A publication that was killed after its files were whole is finished first.
    """
    if _pending_path(session_path, asset).exists():
        with _locked(session_path, asset):
            _roll_forward(session_path, asset)
    return _read(_manifest_path(session_path, asset))


def verify_manifest(session_path: Path, manifest: Manifest, *, content: bool = True) -> tuple[str, ...]:
    """Compare the files on disk with a manifest.

    Parameters
    ----------
    content
        Hash the files; otherwise only their presence and size are compared.

    Returns
    -------
    tuple of str
        A sentence for each file that is missing or changed; empty when all is well.
    """
    findings = []
    for record in manifest.files:
        file = session_path / record.path
        if not file.is_file():
            findings.append(f"{record.path}: missing")
        elif file.stat().st_size != record.size:
            findings.append(f"{record.path}: expected {record.size} bytes, found {file.stat().st_size}")
        elif content and hash_file(file).sha256 != record.sha256:
            findings.append(f"{record.path}: content changed since run {manifest.provenance.run_id}")
    return tuple(findings)


def _roll_forward(session_path: Path, asset: str) -> None:
    """Finish the publication that the pending manifest describes; may be called again at any point of it."""
    pending_path = _pending_path(session_path, asset)
    pending = _read(pending_path)
    if pending is None:  # another process finished it while this one waited for the lock
        return
    staged = session_path / MESO_FOLDER / "staging" / asset
    folders = set()
    for record in pending.files:
        source, target = staged / record.path, session_path / record.path
        if source.is_file():
            _create(target.parent)
            source.replace(target)
        elif not target.is_file() or target.stat().st_size != record.size:
            pending_path.unlink()
            raise StorageError(
                problem(
                    target,
                    expected=f"{record.size} bytes, staged by run {pending.provenance.run_id}",
                    found="neither the staged file nor the published one",
                    remedy=f"Run the asset {asset} again",
                )
            )
        folders.add(target.parent)
    _remove_superseded(session_path, _read(_manifest_path(session_path, asset)), pending)
    for folder in sorted(folders):
        sync_folder(folder)
    pending_path.replace(_manifest_path(session_path, asset))
    sync_folder(pending_path.parent)


def _remove_superseded(session_path: Path, old: Manifest | None, new: Manifest) -> None:
    """Remove the files that only the old version had, and the folders that are empty then.

    An empty tree would pass for a result that is a folder.
    """
    if old is None:
        return
    superseded = sorted({f.path for f in old.files} - {f.path for f in new.files})
    for path in superseded:
        (session_path / path).unlink(missing_ok=True)
    for path in superseded:
        folder = (session_path / path).parent
        while folder != session_path and not (folder.exists() and any(folder.iterdir())):
            with suppress(FileNotFoundError):  # before a kill it was removed, and its parent was not
                folder.rmdir()
            folder = folder.parent


def _staged_files(staged: Path) -> list[Path]:
    files = []
    for entry in sorted(staged.rglob("*")):
        relative = entry.relative_to(staged)
        if any(part.startswith(".") for part in relative.parts) or (entry.is_dir() and not entry.is_symlink()):
            continue
        if entry.is_symlink() or not entry.is_file():
            raise StorageError(
                problem(entry, expected="a plain file", found="a link or a device", remedy="Stage a copy of the file")
            )
        files.append(entry)
    return files


def _manifest_path(session_path: Path, asset: str) -> Path:
    return session_path / MESO_FOLDER / "manifests" / f"{asset}.json"


def _pending_path(session_path: Path, asset: str) -> Path:
    return session_path / MESO_FOLDER / "manifests" / f".{asset}.pending.json"


def _read(path: Path) -> Manifest | None:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    return Manifest.from_json(text, str(path))


def _create(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remedy = "Make room" if error.errno == errno.ENOSPC else "Give the platform's user the right to write there"
        raise StorageError(
            problem(folder, expected="a folder that can be made", found=str(error.strerror), remedy=remedy)
        ) from error


@contextmanager
def _locked(session_path: Path, asset: str) -> Iterator[None]:
    """Hold the publication lock of one asset; the lock dies with the process."""
    folder = session_path / MESO_FOLDER / "locks"
    _create(folder)
    with (folder / f"{asset}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
