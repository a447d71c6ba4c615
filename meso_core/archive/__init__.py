"""The archive of the raw frames: made, verified by content, read without unpacking, and the gate before removal.

What belongs here: everything that happens to raw tifs as files. What their pages mean is the business of
``meso_core.scanimage``.
"""

from .report import ARCHIVE_NAME, ZARR_NAME, ArchiveMember, ArchiveReport, load_report, save_report
from .tarball import compress_tifs, hash_tif, verify_archive

__all__ = [
    "ARCHIVE_NAME",
    "ZARR_NAME",
    "ArchiveMember",
    "ArchiveReport",
    "compress_tifs",
    "hash_tif",
    "load_report",
    "save_report",
    "verify_archive",
]
