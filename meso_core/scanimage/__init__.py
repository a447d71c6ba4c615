"""What the microscope wrote: ScanImage's tifs and their metadata.

What belongs here: the format of the files, which line of which page belongs to which field of view, and the pages as
streams of arrays. What does not: suite2p, DAQ times, positions in the brain.
"""

from .acquisition import open_bout
from .binary import bin_per_plane
from .bouts import load_meta_files, local_bouts, write_missing_meta
from .header import parse_roi_groups, parse_si_header
from .layout import FovLayout, ImagingLayout, fly_to_lines, um_per_pixel
from .metadata import Rig, extract_imaging_meta, meta_from_header
from .movies import FovBinary
from .patch import patch_imaging_meta
from .sources import BoutSource, LocalTif, StreamedTif, TifSource, TifSummary
from .tiff import ScanImageTif

__all__ = [
    "BoutSource",
    "FovBinary",
    "FovLayout",
    "ImagingLayout",
    "LocalTif",
    "Rig",
    "ScanImageTif",
    "StreamedTif",
    "TifSource",
    "TifSummary",
    "bin_per_plane",
    "extract_imaging_meta",
    "fly_to_lines",
    "load_meta_files",
    "local_bouts",
    "meta_from_header",
    "open_bout",
    "parse_roi_groups",
    "parse_si_header",
    "patch_imaging_meta",
    "um_per_pixel",
    "write_missing_meta",
]
