"""The archive of the raw frames: made, verified by content, read without unpacking, and the gate before removal.

What belongs here: everything that happens to raw tifs as files. What their pages mean is the business of
``meso_core.scanimage``.
"""

from .rawtif import hash_tif
from .report import ARCHIVE_NAME, ZARR_NAME, ArchiveMember, ArchiveReport, load_report, save_report
from .source import archive_source, bout_source, find_archive
from .tarball import compress_tifs, verify_archive
from .zarr_frames import open_frames
from .zarr_write import compress_to_zarr, verify_zarr

__all__ = [
    "ARCHIVE_NAME",
    "ZARR_NAME",
    "ArchiveMember",
    "ArchiveReport",
    "archive_source",
    "bout_source",
    "compress_tifs",
    "compress_to_zarr",
    "find_archive",
    "hash_tif",
    "load_report",
    "open_frames",
    "save_report",
    "verify_archive",
    "verify_zarr",
]
