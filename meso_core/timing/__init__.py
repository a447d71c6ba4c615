"""Frame times and frame quality: the DAQ's clock, and what the experimenter noted about frames.

What belongs here: reading Timeline, bouts, times of frames and lines, exptQC.mat and badframes.mat.
"""

from .bouts import BoutEdges, SoftwareEvent, find_bouts, get_bout_edges, load_software_events
from .checks import BoutTiming
from .figure import HOW_TO_READ, frame_interval_figure
from .frame_qc import FrameQC, consolidate_frame_qc
from .frames import FrameTimes, TimeShifts, extract_frame_times, get_timeshifts
from .microscope import ImagingBout, load_imaging_bouts
from .timeline import Channel, CounterEdges, Timeline

__all__ = [
    "HOW_TO_READ",
    "BoutEdges",
    "BoutTiming",
    "Channel",
    "CounterEdges",
    "FrameQC",
    "FrameTimes",
    "ImagingBout",
    "SoftwareEvent",
    "TimeShifts",
    "Timeline",
    "consolidate_frame_qc",
    "extract_frame_times",
    "find_bouts",
    "frame_interval_figure",
    "get_bout_edges",
    "get_timeshifts",
    "load_imaging_bouts",
    "load_software_events",
]
