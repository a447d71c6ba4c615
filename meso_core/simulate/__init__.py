"""Simulated mesoscope sessions: the files that a rig leaves, and the ground truth behind them.

What belongs here: everything that makes data. What does not: anything that reads them. Nothing is imported from the
rooms that read, so a mistake in a reader cannot be repeated in the writer.

>>> from meso_core.simulate import preset, simulate_session, load_truth
>>> made = simulate_session(folder, preset("tiny"))
>>> truth = load_truth(made.truth_path)
"""

from .config import PRESETS, RoiConfig, ScanfieldConfig, SimulationConfig, config_from_meta, preset
from .faults import FAULTS
from .session import SimulatedSession, simulate_session
from .truth import FovTruth, SessionTruth, load_truth

__all__ = [
    "FAULTS",
    "PRESETS",
    "FovTruth",
    "RoiConfig",
    "ScanfieldConfig",
    "SessionTruth",
    "SimulatedSession",
    "SimulationConfig",
    "config_from_meta",
    "load_truth",
    "preset",
    "simulate_session",
]
