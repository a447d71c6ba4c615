"""What the microscope wrote: ScanImage's tifs and their metadata.

What belongs here: the format of the files, which line of which page belongs to which field of view, and the pages as
streams of arrays. What does not: suite2p, DAQ times, positions in the brain.
"""

from .frames.acquisition import open_bout
from .frames.binaries import FovBinary
from .frames.sources import BoutSource, LocalTif, StreamedTif, TifSource, TifSummary
from .frames.split import bin_per_plane
from .layout import FovLayout, ImagingLayout, fly_to_lines, um_per_pixel
from .metadata.bouts import load_meta_files, local_bouts, write_missing_meta
from .metadata.extract import Rig, extract_imaging_meta, meta_from_header
from .metadata.patch import patch_imaging_meta
from .tiff.header import parse_roi_groups, parse_si_header
from .tiff.pages import ScanImageTif

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
