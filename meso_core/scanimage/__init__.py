"""What the microscope wrote: ScanImage's tifs and their metadata.

What belongs here: the format of the files, which line of which page belongs to which field of view, and the pages as
streams of arrays. What does not: suite2p, DAQ times, positions in the brain.
"""

from .binary import FovBinary, bin_per_plane, local_bouts
from .header import parse_roi_groups, parse_si_header
from .layout import FovLayout, ImagingLayout, fly_to_lines
from .sources import BoutSource, LocalTif, StreamedTif, TifSource, TifSummary
from .tiff import ScanImageTif

__all__ = [
    "BoutSource",
    "FovBinary",
    "FovLayout",
    "ImagingLayout",
    "LocalTif",
    "ScanImageTif",
    "StreamedTif",
    "TifSource",
    "TifSummary",
    "bin_per_plane",
    "fly_to_lines",
    "local_bouts",
    "parse_roi_groups",
    "parse_si_header",
]
