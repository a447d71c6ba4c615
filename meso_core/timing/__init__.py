"""Frame times and frame quality: the DAQ's clock, and what the experimenter noted about frames.

What belongs here: reading Timeline, bouts, times of frames and lines, exptQC.mat and badframes.mat.
"""

from .bouts import BoutEdges, SoftwareEvent, find_bouts, get_bout_edges, load_software_events
from .checks import BoutTiming
from .counters import CounterEdges
from .figure import frame_interval_figure
from .frame_qc import FovFrameQC, FrameQC, SessionFrameQC, consolidate_frame_qc, session_frame_qc
from .frames import FrameTimes, TimeShifts, extract_frame_times, find_frame_times, get_timeshifts
from .timeline import Channel, Timeline

__all__ = [
    "BoutEdges",
    "BoutTiming",
    "Channel",
    "CounterEdges",
    "FovFrameQC",
    "FrameQC",
    "FrameTimes",
    "SessionFrameQC",
    "SoftwareEvent",
    "TimeShifts",
    "Timeline",
    "consolidate_frame_qc",
    "extract_frame_times",
    "find_bouts",
    "find_frame_times",
    "frame_interval_figure",
    "get_bout_edges",
    "get_timeshifts",
    "load_software_events",
    "session_frame_qc",
]
