"""Publishing on a remote root: a result appears whole or not at all, on whichever machine it was begun.

The steps, and what a kill between them leaves:

1. files are made in the mirror's staging folder (``staging``) and uploaded to ``.meso/uploading/<asset>`` of the
   session, under names of this publication alone: a kill leaves the previous version, and uploads that the next
   publication clears
2. the new manifest is written beside them as pending: from here on a kill leaves the new version, rolled forward by
   whoever opens the session next, for all that it needs is on the server
3. the server gives the uploaded files their places; those that the old manifest had and the new has not are removed.
   Where a sign beside the uploads asks for it, the old ones are kept first (``keeping``)
4. the manifest takes its place, with the times that the server gave the files

One machine at a time does this for an asset (``claims``). What is at a place counts as the asset's own if it is as the
old manifest tells, by size and by the server's own time of change; otherwise its content is compared.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count
from uuid import uuid4

from ....errors import MesoWarning, StorageError
from ....opening import TABLE_BYTES
from ....progress import Progress
from ....session import MESO_FOLDER, ListedFile
from ...manifests.manifest import FileRecord, Manifest, manifest_path, record_digest
from ...manifests.ownership import check_places, going, in_the_way
from ...manifests.present import PresentFiles
from ...publication.staging import Sealed
from ..servers.filesystem import RemoteRoot, list_below
from ..transfers.streaming import streamed_sha256
from ..transfers.transfer import put_in_place, read_small, remove, stat, upload_all, write_small
from .keeping import keep_replaced

#: Ending of the name of a manifest that does not count yet.
_PENDING = "pending.json"
#: What lies below a session's own folder for this time, s, by the server's clock, is of an upload that was killed.
_LEFT_AFTER_S = 24 * 3600.0
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


@dataclass(frozen=True, slots=True)
class Uploading:
    """A publication that is going on: where its files wait for their places, below the session.

    They lie side by side, for folders would stay on a server.
    """

    asset: str
    #: Tells this publication from every other one of the asset: two that both believe to be alone share no file.
    token: str = field(default_factory=lambda: uuid4().hex)

    @property
    def folder(self) -> str:
        """Folder of all publications of the asset."""
        return _uploading(self.asset)

    @property
    def keeps(self) -> str:
        """Sign that what is replaced is to be kept, also by who finishes this after a kill."""
        return f"{self.folder}/{self._mine('keep')}"

    @property
    def pending(self) -> str:
        """Manifest that does not count yet."""
        return f"{self.folder}/{self._mine(_PENDING)}"

    def path(self, path: str) -> str:
        """Where a file waits."""
        digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()
        return f"{self.folder}/{self._mine(digest[:32])}"

    def _mine(self, name: str) -> str:
        return f"{self.token}.{name}" if self.token else name  # earlier versions of meso had no token


def _uploading(asset: str) -> str:
    return f"{MESO_FOLDER}/uploading/{asset}"


def pending_publications(listing: Collection[ListedFile]) -> tuple[Uploading, ...]:
    """Publications that were begun, and have neither ended nor been given up: those begun first, first."""
    found = []
    for file in sorted(listing, key=lambda file: (file.mtime_ns, file.path)):
        folder, _, name = file.path.rpartition("/")
        asset = folder.rpartition("/")[2]
        if folder == _uploading(asset) and name.endswith(_PENDING):
            found.append(Uploading(asset, name.removesuffix(_PENDING).removesuffix(".")))
    return tuple(found)


def pending_of(session: RemoteSession, asset: str) -> tuple[Uploading, ...]:
    """Find the pending publications of one asset, with a look at their folder alone."""
    folder = _uploading(asset)
    there = list_below(session.root, session.place(folder))
    return pending_publications([replace(file, path=f"{folder}/{file.path}") for file in there])


def begin(
    session: RemoteSession,
    sealed: Sealed,
    new: Manifest,
    old: Manifest | None,
    insist: Callable[[], None],
    progress: Progress,
    *,
    keep: bool = False,
) -> Uploading:
    """Upload what is not there yet, and write the manifest as pending: from here on, the result is the new one.

    What killed uploads have left is removed first. ``keep`` asks that what is replaced be kept.

    Raises
    ------
    StorageError
        If a file of somebody else is in the way, or the server refuses.
    """
    listing = session.listing()
    present, own = session.present(listing), _by_path(old)
    foreign = [r.path for r in new.files if r.path in present.files and not _is_ours(present, own.get(r.path), r)]
    given_up = [record for record in sealed.given_up if record.path in present.files]
    gone = going(new, foreign, given_up, lambda record: _is_ours(present, record))
    if others := [path for path in foreign if path not in gone]:
        raise in_the_way(f"{session.root.url}/{session.base}", sealed.asset, others)
    _clear(session, listing, f"{_uploading(sealed.asset)}/")
    _clear_halves(session, listing, sealed.asset)
    _clear_left(session, listing)
    uploading = Uploading(sealed.asset)
    records, uploads = [], []
    for record in new.files:
        before = own.get(record.path)
        if before is not None and before.content == record.content and _is_as_recorded(present, before):
            records.append(before)  # it is there, and stays
            continue
        records.append(record)
        place = session.place(uploading.path(record.path))
        uploads.append((sealed.source(record.path), place, record.content))
    upload_all(session.root, uploads, workers=_AT_A_TIME, progress=progress)
    pending = replace(new, files=tuple(records))
    insist()
    remove(session.root, [session.place(path) for path in sorted(gone)])  # first, as on a disk
    if keep:
        write_small(session.root, session.place(uploading.keeps), b"")
    write_small(session.root, session.place(uploading.pending), pending.to_json().encode())
    return uploading


def roll_forward(session: RemoteSession, uploading: Uploading) -> Manifest | None:
    """Finish the publication that a pending manifest describes; may be called again at any point of it.

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
    asset = uploading.asset
    pending = undamaged(session, uploading.pending, asset)
    if pending is None:
        return None
    old = undamaged(session, manifest_path(asset), asset)
    check_places(f"{session.root.url}/{session.base}", old, pending, None)
    listing = session.listing()
    present, own, there = session.present(listing), _by_path(old), {file.path for file in listing}
    to_place, times = [], {}
    for record in pending.files:
        path = record.path
        if uploading.path(path) not in there:
            _insist_on(session, uploading, present, pending, record)
            times[path] = present.files[path].mtime_ns
        elif path in present.files and not _is_ours(present, own.get(path), record):
            what = "somebody else has put this file there meanwhile; it was not changed, and the result does not count"
            warnings.warn(f"{session.root.url}/{session.place(path)}: {what}", MesoWarning, stacklevel=2)
        else:
            to_place.append(path)
    if old is not None and old.data_version != pending.data_version and uploading.keeps in there:
        _keep(session, uploading, old, pending, present)
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        places = [(session.place(uploading.path(path)), session.place(path)) for path in to_place]
        placed = pool.map(lambda pair: put_in_place(session.root, *pair), places)
        times.update(zip(to_place, (file.mtime_ns for file in placed), strict=True))
    remove(session.root, [session.place(path) for path in _superseded(present, own, pending)])
    # a file of somebody else keeps the time that it had here: so it counts as another one
    files = tuple(replace(record, mtime_ns=times.get(record.path, record.mtime_ns)) for record in pending.files)
    committed = replace(pending, files=files)
    text = committed.to_json()
    write_small(session.root, session.place(manifest_path(asset)), text.encode())
    _clear(session, listing, f"{uploading.folder}/{uploading.token}")
    return replace(committed, digest=record_digest(text))


def _keep(
    session: RemoteSession, uploading: Uploading, old: Manifest, pending: Manifest, present: PresentFiles
) -> None:
    """Keep the files of what is replaced, as far as they are its own still."""
    ours = {path for path, record in _by_path(old).items() if path in present.files and _is_ours(present, record)}
    staying = {record.path for record in pending.files if uploading.path(record.path) not in present.files}
    keep_replaced(session.root, session.base, old, present.files, ours, staying)


def _clear(session: RemoteSession, listing: Collection[ListedFile], start: str) -> None:
    """Remove uploads whose paths start so, of what has ended or never came to its manifest: pending manifests first."""
    left = [file.path for file in listing if file.path.startswith(start)]
    for paths in ([path for path in left if path.endswith(_PENDING)], left):
        remove(session.root, [session.place(path) for path in paths])


def _clear_halves(session: RemoteSession, listing: Collection[ListedFile], asset: str) -> None:
    """Remove records of an asset that killed processes were writing; who holds the claim is the only one to write."""
    starts = tuple(f"{MESO_FOLDER}/manifests/{start}" for start in (f"history/{asset}/.", f".{asset}.json."))
    halves = [file.path for file in listing if file.path.startswith(starts) and file.path.endswith(".part")]
    remove(session.root, [session.place(path) for path in halves])


def _clear_left(session: RemoteSession, listing: Collection[ListedFile]) -> None:
    """Remove what killed uploads have left elsewhere in the session's own folder, and say so."""
    # the claim of this publication has just been written; files of the rig may have any time
    now = max((file.mtime_ns for file in listing if file.path.startswith(f"{MESO_FOLDER}/locks/")), default=0)
    before = now - int(_LEFT_AFTER_S * 1e9)
    halves = [file for file in listing if file.path.startswith(f"{MESO_FOLDER}/") and file.path.endswith(".part")]
    parts = [file.path for file in halves if file.mtime_ns < before]
    remove(session.root, [session.place(path) for path in parts])
    folder = session.place(MESO_FOLDER)
    n_uploads = session.root.call(
        "list uploads of", folder, lambda server: server.give_up_left(session.root.place(folder), before)
    )
    if n := len(parts) + n_uploads:
        what = (
            f"{n} unfinished uploads of {_LEFT_AFTER_S / 3600:g} hours ago or more were removed: they had been killed"
        )
        warnings.warn(f"{session.root.url}/{session.base}: {what}", MesoWarning, stacklevel=4)


def undamaged(session: RemoteSession, path: str, asset: str) -> Manifest | None:
    """Read a record that is about to be replaced; a damaged one is kept beside, and its files stay.

    The caller holds the claim.
    """
    content = session.read(path)
    if content is None:
        return None
    where = f"{session.root.url}/{session.place(path)}"
    try:
        return Manifest.of_asset(content.decode("utf-8", "surrogateescape"), where, asset)
    except StorageError as error:
        names = (f"{MESO_FOLDER}/manifests/.{asset}.json.damaged{n or ''}" for n in count())
        kept = next(name for name in names if stat(session.root, session.place(name)) is None)
        write_small(session.root, session.place(kept), content)
        remove(session.root, [session.place(path)])
        warnings.warn(f"{error} The damaged record is kept as {kept}.", MesoWarning, stacklevel=2)
        return None


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


def _insist_on(
    session: RemoteSession, uploading: Uploading, present: PresentFiles, pending: Manifest, record: FileRecord
) -> None:
    """Insist that a file that is not among the uploads has its place already."""
    if _is_as_recorded(present, record):
        return
    if wrong := present.wrong_with(record, content=True):
        remove(session.root, [session.place(uploading.pending)])
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
