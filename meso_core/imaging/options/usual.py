"""The settings of suite2p that people change, in words.

What belongs here: what a setting does to a session, for those who choose it. Kinds, defaults and bounds are in
``settings_table``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .overrides import MESOSCOPE
from .settings_table import NOT_OFFERED, SUITE2P_SETTINGS, Setting, is_owned

#: Full name → what it does.
USUAL: Mapping[str, str] = {
    "tau": "Decay time of the indicator, s: 0.7 for GCaMP6f, 1.0 for 6m, 1.5 for 6s",
    "diameter": "Size of a cell in y and x, px; for cellpose and the size of overlapping neuropil",
    "registration.nonrigid": "Whether parts of the field may move differently",
    "registration.maxregshift": "Largest shift that is looked for, as a part of the shorter side of the field",
    "registration.block_size": "Size of the parts that may move differently: lines and pixels, px",
    "registration.nimg_init": "Frames from which the reference image is made",
    "registration.smooth_sigma": "Blur before frames are compared, px: more for noisy movies",
    "detection.threshold_scaling": "How far an ROI must stand out: lower finds more, and more that is none",
    "detection.sparsery_settings.spatial_scale": "Size of the cells: 0 guesses, 1 is 6 px, 2 is 12 px, 3 is 24 px",
    "detection.denoise": "Whether noise is taken out by PCA before ROIs are looked for",
    "detection.max_overlap": "ROIs that share more than this part of their pixels with others are dropped",
    "detection.soma_crop": "Whether dendrites are cut from cell bodies for the classifier",
    "classification.preclassify": "ROIs that are cells with less than this probability are dropped before extraction",
    "classification.classifier_path": "File of a classifier of your own",
    "extraction.neuropil_coefficient": "How much of the neuropil is taken from a cell before deconvolution",
    "dcnv_preprocess.win_baseline": "Window of the moving baseline before deconvolution, s",
}


def offered_settings() -> Iterator[tuple[str, Setting]]:
    """Yield the names under which settings may be given: the full one, and its last part where only one ends so."""
    offered = [row for row in SUITE2P_SETTINGS if not is_owned(row.name) and not row.name.startswith(NOT_OFFERED)]
    ends = [row.name.rpartition(".")[2] for row in SUITE2P_SETTINGS]
    for row in offered:
        yield row.name, row
        last = row.name.rpartition(".")[2]
        if last != row.name and ends.count(last) == 1:
            yield last, row


def describe_setting(row: Setting) -> str:
    """Tell what a setting does, its default in meso, and its bounds."""
    default = MESOSCOPE.get(row.name, row.default)
    by_session = row.name in ("tau", "registration.block_size")
    told = USUAL.get(row.name, f"suite2p's {row.name}")
    bounds = [f"at least {row.low:g}"] if row.low > float("-inf") else []
    bounds += [f"at most {row.high:g}"] if row.high < float("inf") else []
    return f"{told}. Default: {'by session' if by_session else default}{'; ' if bounds else ''}{', '.join(bounds)}."
