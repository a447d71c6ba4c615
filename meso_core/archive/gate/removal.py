"""The removal of raw tifs: moved away, compared with their archive, kept for a while, and only then gone.

What belongs here: the only functions of this project that delete raw data. The steps, and what a kill between them
leaves:

1. the gate is asked (``plan``); a kill leaves the tifs
2. each tif is moved to ``.meso/removed``, so that nobody finds it by its name: a kill leaves it there, and the next
   command or run puts it back (``kept.settle``)
3. the archive is unpacked and compared with the moved tifs (``comparison``), and the gate is asked again; after any
   doubt all tifs go back
4. the removal is recorded, and the record is on the disk: from here on the tif is removed, and kept
5. when its time is over, it is compared once more, and unlinked
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from ...errors import MesoError
from ...progress import Progress, silent
from ...storage import load_manifest
from ...storage.files.atomic import storage_errors
from ..report import load_report
from .comparison import Compared, compare
from .kept import as_place, moved_away, put_back_or_tell, settle
from .log import RemovalEvent
from .place import KeptTif, Place
from .plan import RemovalPlan, archive_doubts_of, check_plan, closed


def remove_raw_tifs(
    plan: RemovalPlan, *, place: Place | None = None, progress: Progress = silent
) -> tuple[RemovalEvent, ...]:
    """Move the tifs of a plan out of their bouts, after all archives and tifs were read and compared.

    Their room is not free yet: they are kept in ``.meso/removed`` until :func:`free_removed` is called, and
    :func:`~meso_core.archive.restore` puts them back by a rename. The gate is asked before they are moved and again
    after the comparison.

    Parameters
    ----------
    plan
        From :func:`removal_plan`.
    place
        Where the tifs lie, if not in the folder of the plan.
    progress
        Told of bytes compared.

    Returns
    -------
    tuple of RemovalEvent

    Raises
    ------
    GateError
        If the gate is closed, the content differs, or anything has changed since the plan was made. Then all tifs are
        at their places; where a new file has taken one, both are kept, and a MesoWarning names them.
    StorageError
        If the removal cannot be recorded, or another one is going on. As above.
    """
    place = place or as_place(plan.session_path)
    plan = replace(plan, session_path=place.session_path)
    if not plan.allowed:
        raise closed(plan.session_path, [f"{o.where}: {o.message}" for o in plan.obstacles] or ["nothing to remove"])
    with storage_errors(plan.session_path), place.alone():
        settle(place)
        check_plan(plan, place=place)
        with moved_away(place, {r.path: r.sha256 for r in plan.removals}) as moved:
            _compare_all(place, list(moved.values()), progress)
            overridden = check_plan(plan, moved.values(), place=place)  # reading takes long
            _, now = place.time_there(datetime.now(UTC))
            at, override = now.isoformat(timespec="seconds"), plan.override if overridden else None
            events = tuple(RemovalEvent(**asdict(planned), at=at, override=override) for planned in plan.removals)
            place.record(events)
    return events


def free_removed(
    where: Path | Place, archive_asset: str, kept_days: float, *, progress: Progress = silent
) -> tuple[KeptTif, ...]:
    """Free the room of removed tifs that were kept long enough, after they were compared with their archives again.

    Parameters
    ----------
    where
        Session folder, or the place of its tifs.
    archive_asset
        Name under which the archives were published.
    kept_days
        Days that a tif is kept after its removal; 0: all are freed, whatever the clock says.
    progress
        Told of bytes compared, then of tifs freed.

    Returns
    -------
    tuple of KeptTif
        Those that are gone.

    Raises
    ------
    GateError, ArchiveError
        If an archive does not hold these tifs any more, or somebody writes them. Then all tifs that are kept go back to
        their places.
    StorageError
        If the disk does not allow it, or a removal or restoring is going on.
    """
    place = as_place(where)
    with storage_errors(place.session_path), place.alone():
        now, _ = place.time_there(datetime.now(UTC))
        settle(place)
        kept = [tif for tif in place.kept() if tif.event is not None]
        due = [tif for tif in kept if not kept_days or tif.frees_at(kept_days) <= now]
        try:
            compared = _compare_all(place, [tif.file for tif in due], progress, archive_asset)
            for number, tif in enumerate(due, 1):
                was = compared[tif.file]
                if change := was.change_of(tif.file):
                    raise closed(place.session_path, [change])
                if not place.unlink(tif.file, was.tifs_were[tif.file]):
                    raise closed(
                        place.session_path, [f"{tif.path} changed at the moment when its room was to be freed"]
                    )
                progress(number, len(due), "tifs freed")
        except MesoError:
            for tif in kept:
                put_back_or_tell(place, tif.path, tif.file)
            raise
        finally:
            place.flush_freed([tif.file for tif in due])
    return tuple(due)


def _compare_all(
    place: Place, tifs: Sequence[Path], progress: Progress, archive_asset: str | None = None
) -> dict[Path, Compared]:
    """Compare tifs that were moved away with the archives of their bouts; returns what each was compared as.

    The records are asked as well where an archive asset is named.
    """
    compared, doubts, session_path = {}, [], place.session_path
    manifest = load_manifest(session_path, archive_asset) if archive_asset and tifs else None
    for name in dict.fromkeys(tif.parent.name for tif in tifs):
        bout, of_bout = session_path / name, [tif for tif in tifs if tif.parent.name == name]
        report = load_report(session_path, name)
        found = archive_doubts_of(bout, report, manifest) if archive_asset or report is None else []
        if report is not None and not found:
            result, found = compare(place, bout, report, of_bout, progress=progress)
            compared.update(dict.fromkeys(of_bout, result))
        doubts += found
    if doubts:
        raise closed(session_path, doubts)
    return compared
