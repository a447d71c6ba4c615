"""Publishing: a result appears whole or not at all.

The steps, and what a kill between them leaves:

1. files are made in a staging folder of the same file system, flushed and hashed (``staging``): a kill leaves the
   previous version
2. the new manifest is written as *pending*: from here on a kill leaves the new version, rolled forward when next opened
3. files are renamed into place; those that the old manifest had and the new has not are removed. Where it was asked,
   the old ones get a second name first (``keeping``)
4. the pending manifest is renamed to its final name
"""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

from ...errors import InputFileError, MesoWarning, MissingInputError, StorageError
from ...opening import TABLE_BYTES, is_there, read_plain
from ...session import MESO_FOLDER
from ..files.atomic import clear_parts, link_or_rename, make_folder, move_file, storage_errors, write_file
from ..files.deferred_renames import remove_name, replace_name
from ..files.hashing import sync_folder
from ..files.locks import locked
from ..manifests.basis import Basis
from ..manifests.manifest import RUN_AGAIN, Chain, MadeBy, Manifest, manifest_path, record_digest, replaced_path
from ..manifests.ownership import check_places, going, in_the_way, is_ours, replaceable, verify_file
from .keeping import keep_replaced
from .staging import Sealed, staging_path

#: Folder of the manifests that were replaced, beside the present ones.
_HISTORY = "history"
#: Ending of the name of a manifest that does not count yet.
_PENDING = ".pending.json"
#: Ending of the name of one that counts, and of one that was set aside because it could not be read.
_RECORD, _DAMAGED = ".json", ".json.damaged"


def publish(
    session_path: Path, sealed: Sealed, basis: Basis, made_by: MadeBy, *, places: str | None = None, session: str = ""
) -> Manifest:
    """Move sealed files into the session and commit them with a manifest; what was sealed is not read again.

    A file that this asset did not write itself is never replaced or removed: neither one of the rig that arrived at
    such a place later, nor one that a forged record claims.

    Parameters
    ----------
    session_path
        Session folder.
    sealed
        Files in the staging folder of their asset.
    basis
        What they depend on.
    made_by
        Which run made them.
    places
        Regular expression of the paths below the session at which the asset may publish; any, by default.
    session
        Key of the session in its store; it stands in the record, so that a folder that is renamed or copied shows.

    Returns
    -------
    Manifest
        The committed record.

    Raises
    ------
    StorageError
        If the disk refuses, a file that is not the asset's own is in the way, or a path is none of the asset's.
    """
    manifest = sealed.manifest(basis, made_by, session=session)
    with storage_errors(session_path), asset_lock(session_path, sealed.asset):
        path = session_path / manifest_path(sealed.asset)
        _clear(session_path, sealed.asset)
        previous, old = _digest_of(path), _undamaged(path)
        check_places(session_path, old, manifest, places)
        ours, foreign = replaceable(session_path, old, manifest, sealed.folder, sealed.left)
        gone = going(manifest, foreign, sealed.given_up, lambda record: is_ours(session_path, record))
        if others := [path for path in foreign if path not in gone]:
            raise in_the_way(session_path, sealed.asset, others)
        if old is not None:
            _keep(session_path, old)
        for file in (session_path / path for path in sorted(gone)):
            remove_name(file)  # first: a kill leaves a file missing, never one of a person beside the new record
            sync_folder(file.parent)
        manifest = replace(manifest, chain=Chain(previous, input_digests(session_path, basis)))
        text = manifest.to_json()
        write_file(_pending_path(session_path, sealed.asset), text.encode())
        _roll_forward(session_path, sealed.asset, ours, sealed.left & ours)
    with storage_errors(sealed.folder):
        shutil.rmtree(sealed.folder)
    return replace(manifest, digest=record_digest(text))


def load_manifest(session_path: Path, asset: str) -> Manifest | None:
    """Read the committed manifest of an asset, or None where the asset was never published.

    A publication that was killed after its files were whole is finished first.
    """
    finish_publication(session_path, asset)
    return committed_manifest(session_path, asset)


def committed_manifest(session_path: Path, asset: str) -> Manifest | None:
    """Read the committed manifest as it is, for who holds the lock: a publication is not finished first."""
    return _read(session_path / manifest_path(asset))


def load_manifests(session_path: Path) -> dict[str, Manifest | StorageError]:
    """Read the committed manifests of all assets, as :func:`load_manifest`, with one look at their folder.

    Returns
    -------
    dict
        Asset → manifest, or what is wrong with it; sorted by name.
    """
    folder = (session_path / manifest_path("x")).parent
    names = _names_in(folder)
    pending = {name[1 : -len(_PENDING)] for name in names if name.startswith(".") and name.endswith(_PENDING)}
    found: dict[str, Manifest | StorageError] = {}
    for asset in sorted({*_published_among(names), *pending}):
        try:
            manifest = load_manifest(session_path, asset) if asset in pending else _read(folder / f"{asset}.json")
        except StorageError as error:
            found[asset] = error
        else:
            if manifest is not None:
                found[asset] = manifest
    return found


def finish_publication(session_path: Path, asset: str) -> None:
    """Finish a publication that was killed after its files were whole, where there is one."""
    if is_there(_pending_path(session_path, asset)):
        with storage_errors(session_path), asset_lock(session_path, asset):
            _roll_forward(session_path, asset)


def verify_manifest(session_path: Path, manifest: Manifest, *, content: bool = True) -> tuple[str, ...]:
    """Compare the files on disk with a manifest.

    Parameters
    ----------
    content
        Hash all files. Otherwise a file of the recorded size and time of change is taken for the one that was
        published, and so is a large one of another time; a smaller one of another time is hashed.

    Returns
    -------
    tuple of str
        A sentence for each file that is missing or changed; empty when all is well.
    """
    folder = str(session_path)  # a path object costs more than asking the system
    found = (verify_file(f"{folder}/{record.path}", record, content=content) for record in manifest.files)
    return tuple(sentence for sentence in found if sentence)


def _roll_forward(
    session_path: Path, asset: str, ours: set[str] | None = None, left: frozenset[str] = frozenset()
) -> None:
    """Finish the publication that the pending manifest describes; may be called again at any point of it.

    A file of somebody else that has come to one of its places stays there: then the result does not count as current.

    Parameters
    ----------
    session_path, asset
        Where it was published, and by which asset.
    ours
        Paths of the files that may be replaced; found out where it is not known, after a kill.
    left
        Paths of those that have their places already, and were compared; all are compared after a kill.
    """
    pending_path = _pending_path(session_path, asset)
    pending = _undamaged(pending_path)
    if pending is None:  # another process finished it while this one waited for the lock
        return
    staged, old = staging_path(session_path, asset), _undamaged(session_path / manifest_path(asset))
    check_places(session_path, old, pending, None)
    if ours is None:
        ours, _ = replaceable(session_path, old, pending, staged)
    staying = {record.path for record in pending.files if not (staged / record.path).is_file()}
    keep_replaced(session_path, old, pending, staying)
    folders = set[Path]()
    for record in pending.files:
        source, target = staged / record.path, session_path / record.path
        if source.is_file():
            make_folder(target.parent)
            _put(source, target, replace=record.path in ours)
        elif record.path not in left and (wrong := verify_file(target, record, content=True)):
            pending_path.unlink()
            raise StorageError.at(
                target,
                expected=f"what run {pending.made_by.run_id} staged: {record.size} bytes",
                found=f"no staged file, and at its place {wrong}",
                remedy=f"Run the asset {asset} again",
            )
        folders.add(target.parent)
    folders |= _remove_superseded(session_path, old, pending)
    for folder in sorted(folders):
        sync_folder(folder)
    replace_name(pending_path, session_path / manifest_path(asset))
    sync_folder(pending_path.parent)


def _put(source: Path, target: Path, *, replace: bool) -> None:
    """Give a staged file its place; one of somebody else that is there stays, with a MesoWarning."""
    if replace:
        move_file(source, target)
        return
    try:
        try:
            link_or_rename(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV or is_there(target):
                raise
            move_file(source, target)
    except FileExistsError:
        what = "somebody else has put this file there meanwhile; it was not changed, and the result does not count"
        warnings.warn(f"{target}: {what}", MesoWarning, stacklevel=4)
    else:
        source.unlink(missing_ok=True)


def published_assets(session_path: Path) -> tuple[str, ...]:
    """Names of the assets that have a manifest in a session, sorted."""
    return _published_among(_names_in((session_path / manifest_path("x")).parent))


def _published_among(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(n.removesuffix(_RECORD) for n in names if n.endswith(_RECORD) and not n.startswith(".")))


def _names_in(folder: Path) -> tuple[str, ...]:
    """Names in a folder; none where there is no such folder."""
    try:
        return tuple(os.listdir(folder))  # noqa: PTH208  of very many: path objects cost more than asking the system
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError:
        with storage_errors(folder):
            raise


def kept_records(session_path: Path) -> dict[str, dict[str, str]]:
    """Read the manifests that were replaced, damaged ones that were set aside among them.

    Returns
    -------
    dict
        Asset → digest, by which each is named, → its text as it is now.
    """
    manifests = (session_path / manifest_path("x")).parent
    kept: dict[str, dict[str, str]] = {}
    names = _names_in(manifests)
    for file in sorted((manifests / _HISTORY).glob("*/*.json")) if _HISTORY in names else ():
        with suppress(InputFileError):  # then it is as good as gone
            kept.setdefault(file.parent.name, {})[file.stem] = _text(file)
    for name in sorted(name for name in names if name.startswith(".") and _DAMAGED in name):
        with suppress(InputFileError):
            text = _text(manifests / name)
            kept.setdefault(name[1:].partition(".json.")[0], {})[record_digest(text)] = text
    return kept


def _undamaged(path: Path) -> Manifest | None:
    """Read a record that is about to be replaced; a damaged one is kept beside, and its files stay."""
    try:
        return _read(path)
    except StorageError as error:
        names = (path.with_name(f".{path.name.lstrip('.')}.damaged{n or ''}") for n in count())
        kept = next(name for name in names if not is_there(name))
        with storage_errors(path):
            path.rename(kept)
        warnings.warn(f"{error} The damaged record is kept as {kept}.", MesoWarning, stacklevel=2)
        return None


def _digest_of(path: Path) -> str:
    """Digest of a record that is about to be replaced, damaged or not; empty where there is no plain file."""
    with suppress(InputFileError, MissingInputError):
        return record_digest(_text(path))
    return ""


def _keep(session_path: Path, old: Manifest) -> None:
    """Keep a record that is about to be replaced, under its digest."""
    path, kept = session_path / manifest_path(old.asset), session_path / replaced_path(old.asset, old.digest)
    for left in kept.parent.glob(".*.part"):  # by a publication that was killed; no other one goes on
        left.unlink(missing_ok=True)
    write_file(kept, _text(path).encode("utf-8", "surrogateescape"))


def _clear(session_path: Path, asset: str) -> None:
    """Remove what a killed publication of the asset left half-written; its lock is held."""
    path = session_path / manifest_path(asset)
    with storage_errors(path):
        clear_parts(path)
        clear_parts(_pending_path(session_path, asset))
        for part in (path.parent / _HISTORY / asset).glob(".*.part"):
            part.unlink(missing_ok=True)


def input_digests(session_path: Path, basis: Basis) -> dict[str, str]:
    """Digests of the manifests that the inputs of a result have; raw files have none."""
    manifests = {name: load_manifest(session_path, name) for name in basis.inputs}
    return {
        name: manifest.digest
        for name, manifest in manifests.items()
        if manifest is not None and manifest.data_version == basis.inputs[name]  # not one that came in the meantime
    }


def _remove_superseded(session_path: Path, old: Manifest | None, new: Manifest) -> set[Path]:
    """Remove the files that only the old version had, and the folders that are empty then.

    An empty tree would pass for a result that is a folder.

    Returns
    -------
    set of Path
        Folders that hold something less, to be flushed.
    """
    changed = set[Path]()
    if old is None:
        return changed
    kept = {file.path for file in new.files}
    gone = {f.path: f for f in old.files if f.path not in kept and not (session_path / f.path).is_symlink()}
    # a file that is another one by now is somebody else's
    superseded = sorted(
        path for path, f in gone.items() if is_ours(session_path, f) or not os.path.lexists(session_path / path)
    )
    for path in superseded:
        remove_name(session_path / path)
    for path in superseded:
        folder = (session_path / path).parent
        while folder != session_path and not (folder.exists() and any(folder.iterdir())):
            with suppress(FileNotFoundError):  # before a kill it was removed, and its parent was not
                folder.rmdir()
            folder = folder.parent
        changed.add(folder)
    return {folder for folder in changed if folder.is_dir()}  # one may have become empty later


def _pending_path(session_path: Path, asset: str) -> Path:
    return session_path / MESO_FOLDER / "manifests" / f".{asset}{_PENDING}"


def _read(path: Path) -> Manifest | None:
    try:
        text = _text(path)
    except MissingInputError:
        return None
    except InputFileError as error:
        raise StorageError.at(path, expected="a manifest", found=str(error), remedy=RUN_AGAIN) from error
    is_pending = path.name.startswith(".")
    return Manifest.of_asset(text, str(path), path.name[1:].removesuffix(_PENDING) if is_pending else path.stem)


def _text(path: Path) -> str:
    """Read a record with each byte as it is: its digest is that of the file."""
    return read_plain(path, TABLE_BYTES).decode("utf-8", "surrogateescape")


@contextmanager
def asset_lock(session_path: Path, asset: str) -> Iterator[None]:
    """Hold the publication lock of one asset; the lock dies with the process."""
    folder = session_path / MESO_FOLDER / "locks"
    make_folder(folder)
    path = folder / f"{asset}.lock"
    with ExitStack() as until_end:
        with storage_errors(path):
            until_end.enter_context(locked(path))
        yield
