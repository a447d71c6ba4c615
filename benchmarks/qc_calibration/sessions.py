"""Simulated sessions: good ones, and those with one thing wrong at a time.

What belongs here: what is put in. What does not: judging it (``parts``, ``whole``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from meso_core.simulate.config import RoiConfig, SimulationConfig

#: Side of the field, px; size of a pixel, µm; frames per second.
SIDE, UM, RATE_HZ = 160, 1.367, 6.0
#: Frames of a long session, 17 min, and of a short one, 4 min: suite2p's
#: components need as many.
LONG, SHORT = 6_000, 1_500
FOV = "FOV_00"


@dataclass(frozen=True)
class Session:
    """One simulated session, and what is wrong with it."""

    seed: int
    photons: float
    motion_um: float
    axial_drift_um: float
    bleaching_per_hour: float
    cells_per_mm2: float
    n_frames: int = LONG
    #: Noise of the detector and its amplifier, counts; a photon has 40.
    read_noise: float = 18.0
    #: Values above are cut off; int16 by itself.
    wall: int = 32_767
    indicator: str = "6s"
    tau_s: float = 1.5
    #: Light of each cell that its neuropil mask holds as well, in parts of its own.
    cell_in_neuropil: float = 0.0
    #: Pulses that the DAQ missed in the middle.
    n_dropped: int = 0
    #: How far the window is from where the metadata say, mm to the side.
    off_mm: float = 0.0

    def config(self) -> SimulationConfig:
        size = SIDE * UM / 150
        return SimulationConfig(
            (RoiConfig((0.0, 0.0), (size, size), (SIDE, SIDE)),),
            frames_per_bout=(self.n_frames,),
            frame_rate_hz=RATE_HZ,
            seed=self.seed,
            photons=self.photons,
            read_noise=self.read_noise,
            motion_um=self.motion_um,
            axial_drift_um=self.axial_drift_um,
            bleaching_per_hour=self.bleaching_per_hour,
            cells_per_mm2=self.cells_per_mm2,
            indicator=self.indicator,
            write_movie=False,
        )


def good(seed: int, n_frames: int = LONG) -> Session:
    """A good session; they differ as sessions do."""
    rng = np.random.default_rng([seed, 77])
    low, high = np.array([[10, 1.0, 0.0, 0.05, 700], [30, 2.0, 5.0, 0.2, 1100]])
    return Session(seed, *(float(value) for value in rng.uniform(low, high)), n_frames)


@dataclass(frozen=True)
class Fault:
    """One thing that can be wrong, and the checks that may fire on it."""

    name: str
    #: Of the severity, and the field of the session that it is; the mildest first.
    unit: str
    field: str
    severities: tuple[Any, ...]
    checks: frozenset[str]
    #: Whether the severity is a share of the mean light of the session, which is told in counts.
    is_of_light: bool = False

    def session(self, seed: int, severity: Any, n_frames: int = LONG) -> Session:
        """A session that is good but for this."""
        session = good(seed, n_frames)
        value = severity * session.photons * session.config().gain if self.is_of_light else severity
        return replace(session, **{self.field: value})


def _faults(*rows: tuple[str, str, str, tuple[Any, ...], set[str]]) -> Mapping[str, Fault]:
    return {row[0]: Fault(*row[:4], frozenset(row[4]), row[0] == _NOISE) for row in rows}


_MOTION, _DARK, _DRIFT = "motion beyond reach", "dark", "drift in depth"
_PHOTONS, _OVER = "photons per pixel at mean brightness", "µm over the session"
_NOISE, _NOISY = "noise of the detector", "of the mean light, standard deviation"

#: What is put into long sessions.
FAULTS = _faults(
    (_MOTION, "µm, standard deviation", "motion_um", (4.0, 6.0, 8.0, 12.0),
     {"shifts_within_reach", "rigid_range", "rigid_jump"}),
    ("saturation", "counts at which values are cut off", "wall", (12_000, 6_000, 4_000, 2_500), {"saturated_share"}),
    (_DARK, _PHOTONS, "photons", (4.0, 2.0, 1.0, 0.5), {"photons_per_pixel", "noise_level"}),
    (_NOISE, _NOISY, "read_noise", (0.6, 1.2, 1.8, 2.4), {"noise_level", "cells_are_active"}),
    (_DRIFT, _OVER, "axial_drift_um", (8.0, 12.0, 18.0, 25.0), {"ends_alike", "axial_drift"}),
    ("bleaching", "of the light per hour, as a rate", "bleaching_per_hour", (1.0, 1.6, 2.4, 4.0), {"light_lost"}),
    ("dropped pulses", "pulses", "n_dropped", (1, 3, 10),
     {"pulse_intervals_match_scanimage", "interval_gaps", "frames_match_pulses"}),
    ("bad neuropil", "of a cell's light in its neuropil", "cell_in_neuropil", (0.25, 0.5, 1.0, 2.0),
     {"neuropil_correlation"}),
    ("wrong tau", "s, where 1.5 is right", "tau_s", (1.0, 0.7, 0.4), {"decay_mismatch"}),
    ("misaligned field", "mm to the side", "off_mm", (1.0, 2.0, 3.0, 4.0),
     {"fov_inside_brain", "fov_near_window", "fov_size", "fov_number_of_areas"}),
)  # fmt: skip

#: What is put into short sessions, which suite2p registers and finds cells in.
SHORT_FAULTS = _faults(
    (_MOTION, "µm, standard deviation", "motion_um", (4.0, 8.0, 12.0),
     {"shifts_within_reach", "rigid_range", "rigid_jump", "bad_frame_fraction", "registration_residual",
      "crispness_gain"}),
    (_DARK, _PHOTONS, "photons", (2.0, 1.0, 0.4),
     {"photons_per_pixel", "noise_level", "cells_found", "cells_are_active", "classifier_share", "fields_agree"}),
    (_NOISE, _NOISY, "read_noise", (0.6, 1.2, 2.4),
     {"noise_level", "cells_found", "cells_are_active", "classifier_share", "fields_agree"}),
    (_DRIFT, _OVER, "axial_drift_um", (8.0, 16.0, 25.0), {"ends_alike"}),
)  # fmt: skip
