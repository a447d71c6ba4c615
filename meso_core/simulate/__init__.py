"""Mesoscope sessions made up from settings, with ground truth: what the rig would leave on disk, and what is true.

What belongs here: everything that makes data. What does not: anything that reads them; no other room is used, so that
a reader's mistake cannot hide in the writer.

>>> from meso_core.simulate import preset, simulate_session, load_truth
>>> made = simulate_session("/data/Subjects", preset("tiny"))      # doctest: +SKIP
>>> truth = load_truth(made.truth_path)                            # doctest: +SKIP
"""

from .config import PRESETS, RoiConfig, SimulationConfig, config_from_meta, preset
from .faults import FAULTS
from .session import SimulatedSession, simulate_session
from .truth import FovTruth, SessionTruth, load_truth

__all__ = [
    "FAULTS",
    "PRESETS",
    "FovTruth",
    "RoiConfig",
    "SessionTruth",
    "SimulatedSession",
    "SimulationConfig",
    "config_from_meta",
    "load_truth",
    "preset",
    "simulate_session",
]
