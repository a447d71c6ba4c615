"""Publishing on a remote root: a result appears whole or not at all, on whichever machine it was begun.

The steps, and what a kill between them leaves:

1. files are made in the mirror's staging folder (``staging``) and uploaded to ``.meso/uploading/<asset>`` of the
   session: a kill leaves the previous version, and uploads that the next publication clears
2. the new manifest is written as ``.meso/uploading/<asset>/pending.json``: from here on a kill leaves the new version,
   rolled forward by whoever opens the session next, for all that it needs is on the server
3. the server gives the uploaded files their places; those that the old manifest had and the new has not are removed
4. the manifest takes its place, with the times that the server gave the files

One machine at a time does this for an asset (``claims``). What is at a place counts as the asset's own if it is as the
old manifest tells, by size and by the server's own time of change; otherwise its content is compared.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count

from ...errors import MesoWarning, StorageError
from ...opening import TABLE_BYTES
from ...session import MESO_FOLDER, ListedFile
from ..manifest import RUN_AGAIN, FileRecord, Manifest, record_digest
from ..ownership import check_places, in_the_way
from ..present import PresentFiles
from ..staging import Sealed
from .filesystem import RemoteRoot, list_below
from .streaming import streamed_sha256
from .transfer import put_in_place, read_small, remove, stat, upload_all, write_small

_PENDING = "pending.json"
#: Calls to the server at a time.
_AT_A_TIME = 8


@dataclass(frozen=True, slots=True)
class RemoteSession:
    """A session on a server."""

    root: RemoteRoot
    #: Its path below the root.
    base: str

    def place(self, path: str) -> str:
        """Path below the root of a file of the session."""
        return f"{self.base}/{path}"

    def listing(self) -> tuple[ListedFile, ...]:
        """List all files, the platform's own among them."""
        return list_below(self.root, self.base)

    def present(self, listing: Collection[ListedFile]) -> PresentFiles:
        """Files of a listing, whose content is read on the server's side of the network."""
        return PresentFiles.of(listing, lambda path: streamed_sha256(self.root, self.place(path)))

    def read(self, path: str) -> bytes | None:
        """Read a record; None where there is none."""
        return read_small(self.root, self.place(path), TABLE_BYTES)


def uploading(asset: str) -> str:
    """Folder of a publication that is going on, below the session."""
    return f"{MESO_FOLDER}/uploading/{asset}"


def pending_path(asset: str) -> str:
    """Manifest that does not count yet, below the session."""
    return f"{uploading(asset)}/{_PENDING}"


def manifest_path(asset: str) -> str:
    """Manifest of an asset, below the session."""
    return f"{MESO_FOLDER}/manifests/{asset}.json"


def upload_path(asset: str, path: str) -> str:
    """Where a file waits for its place, below the session: all side by side, for folders would stay on a server."""
    return f"{uploading(asset)}/{hashlib.sha256(path.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}"


def pending_assets(listing: Collection[ListedFile]) -> tuple[str, ...]:
    """Assets whose publication was begun, and has neither ended nor been given up."""
    parts = [file.path.split("/") for file in listing]
    return tuple(
        part[2] for part in parts if len(part) == 4 and part[:2] == [MESO_FOLDER, "uploading"] and part[3] == _PENDING
    )


def begin(
    session: RemoteSession, sealed: Sealed, new: Manifest, old: Manifest | None, insist: Callable[[], None]
) -> None:
    """Upload what is not there yet, and write the manifest as pending: from here on, the result is the new one.

    Raises
    ------
    StorageError
        If a file of somebody else is in the way, or the server refuses.
    """
    listing = session.listing()
    present, own = session.present(listing), _by_path(old)
    foreign = [r.path for r in new.files if r.path in present.files and not _is_ours(present, own.get(r.path), r)]
    if foreign:
        raise in_the_way(f"{session.root.url}/{session.base}", sealed.asset, foreign)
    clear(session, sealed.asset, listing)
    records, uploads = [], []
    for record in new.files:
        before = own.get(record.path)
        if before is not None and before.content == record.content and _is_as_recorded(present, before):
            records.append(before)  # it is there, and stays
            continue
        records.append(record)
        place = session.place(upload_path(sealed.asset, record.path))
        uploads.append((sealed.source(record.path), place, record.content))
    upload_all(session.root, uploads, workers=_AT_A_TIME)
    pending = replace(new, files=tuple(records))
    insist()
    write_small(session.root, session.place(pending_path(sealed.asset)), pending.to_json().encode())


def roll_forward(session: RemoteSession, asset: str) -> Manifest | None:
    """Finish the publication that the pending manifest describes; may be called again at any point of it.

    The caller holds the claim. A file of somebody else that has come to one of its places stays there: then the result
    does not count as current.

    Returns
    -------
    Manifest or None
        The committed manifest; None where nothing was pending.

    Raises
    ------
    StorageError
        If what was uploaded is neither where it was uploaded nor at its place; then the old version counts again.
    """
    pending = undamaged(session, pending_path(asset), asset)
    if pending is None:
        return None
    old = undamaged(session, manifest_path(asset), asset)
    check_places(f"{session.root.url}/{session.base}", old, pending, None)
    listing = session.listing()
    present, own, there = session.present(listing), _by_path(old), {file.path for file in listing}
    to_place, times = [], {}
    for record in pending.files:
        path = record.path
        if upload_path(asset, path) not in there:
            _insist_on(session, present, pending, record)
            times[path] = present.files[path].mtime_ns
        elif path in present.files and not _is_ours(present, own.get(path), record):
            what = "somebody else has put this file there meanwhile; it was not changed, and the result does not count"
            warnings.warn(f"{session.root.url}/{session.place(path)}: {what}", MesoWarning, stacklevel=2)
        else:
            to_place.append(path)
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        places = [(session.place(upload_path(asset, path)), session.place(path)) for path in to_place]
        placed = pool.map(lambda pair: put_in_place(session.root, *pair), places)
        times.update(zip(to_place, (file.mtime_ns for file in placed), strict=True))
    remove(session.root, [session.place(path) for path in _superseded(present, own, pending)])
    # a file of somebody else keeps the time that it had here: so it counts as another one
    files = tuple(replace(record, mtime_ns=times.get(record.path, record.mtime_ns)) for record in pending.files)
    committed = replace(pending, files=files)
    text = committed.to_json()
    write_small(session.root, session.place(manifest_path(asset)), text.encode())
    clear(session, asset, listing)
    return replace(committed, digest=record_digest(text))


def clear(session: RemoteSession, asset: str, listing: Collection[ListedFile]) -> None:
    """Remove what a publication that has ended, or never came to its manifest, left: the pending manifest first."""
    folder = f"{uploading(asset)}/"
    left = [file.path for file in listing if file.path.startswith(folder)]
    if pending_path(asset) in left:
        remove(session.root, [session.place(pending_path(asset))])
    remove(session.root, [session.place(path) for path in left if path != pending_path(asset)])


def undamaged(session: RemoteSession, path: str, asset: str) -> Manifest | None:
    """Read a record that is about to be replaced; a damaged one is kept beside, and its files stay.

    The caller holds the claim.
    """
    content = session.read(path)
    if content is None:
        return None
    where = f"{session.root.url}/{session.place(path)}"
    try:
        manifest = Manifest.from_json(content.decode("utf-8", "surrogateescape"), where)
        if manifest.asset != asset:
            found = f"one of {manifest.asset!r}"
            raise StorageError.at(where, expected="the manifest of its asset", found=found, remedy=RUN_AGAIN)
    except StorageError as error:
        names = (f"{MESO_FOLDER}/manifests/.{asset}.json.damaged{n or ''}" for n in count())
        kept = next(name for name in names if stat(session.root, session.place(name)) is None)
        write_small(session.root, session.place(kept), content)
        remove(session.root, [session.place(path)])
        warnings.warn(f"{error} The damaged record is kept as {kept}.", MesoWarning, stacklevel=2)
        return None
    return manifest


def _by_path(manifest: Manifest | None) -> dict[str, FileRecord]:
    return {record.path: record for record in (manifest.files if manifest else ())}


def _is_as_recorded(present: PresentFiles, record: FileRecord) -> bool:
    """Whether a file is the one that was published, by size and by the time that the server gave it."""
    file = present.files.get(record.path)
    return file is not None and not file.is_link and (file.size, file.mtime_ns) == (record.size, record.mtime_ns)


def _is_ours(present: PresentFiles, *records: FileRecord | None) -> bool:
    """Whether a file may be replaced or removed: it is one of these records tells, by time or else by content."""
    known = [record for record in records if record is not None]
    if any(_is_as_recorded(present, record) for record in known):
        return True
    file = present.files[known[0].path]
    alike = [record for record in known if record.size == file.size] if not file.is_link else []
    return bool(alike) and present.sha256(file.path) in {record.sha256 for record in alike}


def _insist_on(session: RemoteSession, present: PresentFiles, pending: Manifest, record: FileRecord) -> None:
    """Insist that a file that is not among the uploads has its place already."""
    if _is_as_recorded(present, record):
        return
    if wrong := present.wrong_with(record, content=True):
        remove(session.root, [session.place(pending_path(pending.asset))])
        raise StorageError.at(
            f"{session.root.url}/{session.place(record.path)}",
            expected=f"what run {pending.made_by.run_id} uploaded: {record.size} bytes",
            found=f"no upload, and at its place {wrong}",
            remedy=f"Run the asset {pending.asset} again",
        )


def _superseded(present: PresentFiles, old: Mapping[str, FileRecord], new: Manifest) -> list[str]:
    """Files that only the old version had, and that are still its own."""
    kept = {record.path for record in new.files}
    gone = [record for path, record in old.items() if path not in kept and path in present.files]
    return [record.path for record in gone if _is_ours(present, record)]
