"""What the checks of a whole session ask, as the UI shows it.

What belongs here: a question for each verdict of ``meso_core.report.judge``. How to read them is in ``meso_core.qc``.
"""

from collections.abc import Mapping

#: Check → the question it asks.
OF_THE_SESSION: Mapping[str, str] = {
    "files_as_published": "Are all published files there, as they were?",
    "archive_verified": "Are the archives as they were when each tif was compared?",
    "frames_match_timestamps": "Has each field of view as many timestamps as frames?",
    "interval_jitter": "Do frames follow each other at equal intervals?",
    "interval_gaps": "Are there no gaps between the frames of a bout?",
    "rigid_range": "Did the brain stay within reach of the field of view?",
    "rigid_jump": "Are there no jumps from one good frame to the next?",
    "crispness_gain": "Does registration make the mean image crisper?",
    "ends_alike": "Is the same tissue in view at the beginning and at the end?",
    "axial_drift": "Did each field stay at its depth of the reference stack?",
    "saturated_share": "Are the brightest values below the end of the detector's range?",
    "photons_per_pixel": "Is there enough light?",
    "counts_per_photon": "How many counts is a photon?",
    "light_lost": "Did the light stay?",
    "traces_are_finite": "Are all values of the traces numbers?",
    "classifier_share": "Are enough of the ROIs called cells?",
    "cells_are_active": "Do traces of cells hold more than noise?",
    "noise_level": "Is the noise of the cells low enough?",
    "neuropil_correlation": "Are cells told apart from the neuropil around them?",
    "decay_mismatch": "Do transients decay as the indicator for which tau was set?",
}
