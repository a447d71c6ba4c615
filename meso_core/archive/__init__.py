"""The archive of the raw frames: made, verified by content, read without unpacking, and the gate before removal.

What belongs here: everything that happens to raw tifs as files. ``meso_core.scanimage`` reads their pages.
"""

from .bout import ArchiveFormat, archive_bout, verify_any
from .delivered import as_delivered
from .gate.folder import kept_tifs
from .gate.kept import settle_if_needed
from .gate.log import Override, RemovalEvent, load_removals
from .gate.place import KeptTif, Place
from .gate.plan import Obstacle, PlannedRemoval, RemovalPlan, removal_plan
from .gate.removal import free_removed, remove_raw_tifs
from .raw_places import raw_place
from .raw_times import given_times, report_with_own_times
from .rawtif import hash_tif
from .report import ARCHIVE_NAME, ZARR_NAME, ArchiveMember, ArchiveReport, load_report, save_report
from .restoring import RestoredTif, restore
from .selection import archive_doubts, find_archive, readable_records
from .source import archive_source, bout_source
from .tarball import compress_tifs, verify_archive
from .zarr.frames import open_frames
from .zarr.write import compress_to_zarr, verify_zarr

__all__ = [
    "ARCHIVE_NAME",
    "ZARR_NAME",
    "ArchiveFormat",
    "ArchiveMember",
    "ArchiveReport",
    "KeptTif",
    "Obstacle",
    "Override",
    "Place",
    "PlannedRemoval",
    "RemovalEvent",
    "RemovalPlan",
    "RestoredTif",
    "archive_bout",
    "archive_doubts",
    "archive_source",
    "as_delivered",
    "bout_source",
    "compress_tifs",
    "compress_to_zarr",
    "find_archive",
    "free_removed",
    "given_times",
    "hash_tif",
    "kept_tifs",
    "load_removals",
    "load_report",
    "open_frames",
    "raw_place",
    "readable_records",
    "removal_plan",
    "remove_raw_tifs",
    "report_with_own_times",
    "restore",
    "save_report",
    "settle_if_needed",
    "verify_any",
    "verify_archive",
    "verify_zarr",
]
