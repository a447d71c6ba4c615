"""What the microscope wrote: ScanImage's tifs and their metadata.

What belongs here: the format of the files, which line of which page belongs to which field of view, and the pages as
streams of arrays. What does not: suite2p, DAQ times, positions in the brain.
"""

from .frames.acquisition import open_bout
from .frames.binaries import FovBinary
from .frames.faults import check_frames
from .frames.frame_reader import ChosenFrames
from .frames.sources import BoutSource, LocalTif, PageBlock, TifSource, TifSummary
from .frames.split import bin_per_plane
from .frames.stream import StreamedTif
from .layout import FovLayout, ImagingLayout
from .metadata.bouts import load_meta_files, load_session_metadata, local_bouts, write_missing_meta
from .metadata.extract import Rig, extract_imaging_meta, meta_from_header
from .metadata.parse import as_imaging_metadata, as_window_center, parse_imaging_metadata, parse_session_metadata
from .metadata.patch import patch_imaging_meta
from .scanner import fly_to_lines
from .tiff.header import parse_roi_groups, parse_si_header
from .tiff.pages import ScanImageTif

__all__ = [
    "BoutSource",
    "ChosenFrames",
    "FovBinary",
    "FovLayout",
    "ImagingLayout",
    "LocalTif",
    "PageBlock",
    "Rig",
    "ScanImageTif",
    "StreamedTif",
    "TifSource",
    "TifSummary",
    "as_imaging_metadata",
    "as_window_center",
    "bin_per_plane",
    "check_frames",
    "extract_imaging_meta",
    "fly_to_lines",
    "load_meta_files",
    "load_session_metadata",
    "local_bouts",
    "meta_from_header",
    "open_bout",
    "parse_imaging_metadata",
    "parse_roi_groups",
    "parse_session_metadata",
    "parse_si_header",
    "patch_imaging_meta",
    "write_missing_meta",
]
