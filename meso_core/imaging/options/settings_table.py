"""Names, kinds, defaults and bounds of suite2p 1.1's settings.

What belongs here: facts about suite2p that are needed before suite2p is imported. Its import takes seconds (torch,
cellpose), so settings are checked against this table and only the workers load suite2p; a test compares the table with
the installed package. What does not: which values a mesoscope session uses (``options``).
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...errors import SettingsError, problem

#: What a setting of suite2p may be.
OptionValue: TypeAlias = "bool | int | float | str | list[Any] | dict[str, Any] | None"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: ``settings["registration"]["nimg_init"]`` is named ``registration.nimg_init``."""

    name: str
    kind: type
    default: Any
    low: float = -math.inf
    high: float = math.inf


_INF = math.inf

#: Every setting of suite2p 1.1.0 (``suite2p.parameters.SETTINGS``).
SUITE2P_SETTINGS: tuple[Setting, ...] = (
    Setting("torch_device", str, "cuda"),
    Setting("tau", float, 1.0, 0.0, 10.0),
    Setting("fs", float, 10.0, 0.01, _INF),
    Setting("diameter", list, [12.0, 12.0]),
    Setting("run.do_registration", int, 1, 0, 2),
    Setting("run.do_regmetrics", bool, True),
    Setting("run.do_detection", bool, True),
    Setting("run.do_deconvolution", bool, True),
    Setting("run.multiplane_parallel", bool, False),
    Setting("io.combined", bool, True),
    Setting("io.save_mat", bool, False),
    Setting("io.save_NWB", bool, False),
    Setting("io.save_ops_orig", bool, True),
    Setting("io.delete_bin", bool, False),
    Setting("io.move_bin", bool, False),
    Setting("registration.align_by_chan2", bool, False),
    Setting("registration.nimg_init", int, 400, 1, _INF),
    Setting("registration.maxregshift", float, 0.1, 0.0, 1.0),
    Setting("registration.do_bidiphase", bool, False),
    Setting("registration.bidiphase", float, 0.0),
    Setting("registration.batch_size", int, 100, 1, _INF),
    Setting("registration.nonrigid", bool, True),
    Setting("registration.maxregshiftNR", int, 5, 0, _INF),
    Setting("registration.block_size", tuple, (128, 128)),
    Setting("registration.smooth_sigma_time", float, 0, 0.0, _INF),
    Setting("registration.smooth_sigma", float, 1.15, 0.25, _INF),
    Setting("registration.spatial_taper", float, 3.45, 0.0, _INF),
    Setting("registration.th_badframes", float, 1.0, 0.0, _INF),
    Setting("registration.norm_frames", bool, True),
    Setting("registration.snr_thresh", float, 1.2, 1.0, _INF),
    Setting("registration.subpixel", int, 10, 1, 100),
    Setting("registration.two_step_registration", bool, False),
    Setting("registration.reg_tif", bool, False),
    Setting("registration.reg_tif_chan2", bool, False),
    Setting("registration.upsample_meanImg", list, None),
    Setting("detection.algorithm", str, "sparsery"),
    Setting("detection.denoise", bool, False),
    Setting("detection.block_size", tuple, (64, 64)),
    Setting("detection.nbins", int, 5000, 1, _INF),
    Setting("detection.bin_size", int, None, 1, _INF),
    Setting("detection.highpass_time", int, 100, 0, _INF),
    Setting("detection.threshold_scaling", float, 1.0, 0.0, _INF),
    Setting("detection.npix_norm_min", float, 0.0, 0.0, _INF),
    Setting("detection.npix_norm_max", float, 100, 0.0, _INF),
    Setting("detection.max_overlap", float, 0.75, 0.0, 1.0),
    Setting("detection.soma_crop", bool, True),
    Setting("detection.chan2_threshold", float, 0.25, 0.0, 1.0),
    Setting("detection.cellpose_chan2", bool, False),
    Setting("detection.sparsery_settings.highpass_neuropil", int, 25, 5, _INF),
    Setting("detection.sparsery_settings.max_ROIs", int, 5000, 1, _INF),
    Setting("detection.sparsery_settings.spatial_scale", int, 0, 0, 4),
    Setting("detection.sparsery_settings.active_percentile", float, 0.0, 0.0, 1.0),
    Setting("detection.sourcery_settings.connected", bool, True),
    Setting("detection.sourcery_settings.max_iterations", int, 20, 1, _INF),
    Setting("detection.sourcery_settings.smooth_masks", bool, False),
    Setting("detection.cellpose_settings.cellpose_model", str, "cpsam"),
    Setting("detection.cellpose_settings.img", str, "max_proj / meanImg"),
    Setting("detection.cellpose_settings.highpass_spatial", int, 0, 0, _INF),
    Setting("detection.cellpose_settings.flow_threshold", float, 0.4, 0.0, 1.0),
    Setting("detection.cellpose_settings.cellprob_threshold", float, 0.0, 0.0, 1.0),
    Setting("detection.cellpose_settings.params", dict, None),
    Setting("detection.cellpose_settings.params_chan2", dict, None),
    Setting("classification.classifier_path", str, None),
    Setting("classification.use_builtin_classifier", bool, False),
    Setting("classification.preclassify", float, 0.0, 0.0, 1.0),
    Setting("extraction.snr_threshold", float, 0.0, -_INF, 1.0),
    Setting("extraction.batch_size", int, 500, 1, _INF),
    Setting("extraction.neuropil_extract", bool, True),
    Setting("extraction.neuropil_coefficient", float, 0.7, 0.0, _INF),
    Setting("extraction.inner_neuropil_radius", int, 2, 0, _INF),
    Setting("extraction.min_neuropil_pixels", int, 350, 1, _INF),
    Setting("extraction.lam_percentile", float, 50.0, 0.0, 100.0),
    Setting("extraction.allow_overlap", bool, False),
    Setting("extraction.circular_neuropil", bool, False),
    Setting("dcnv_preprocess.baseline", str, "maximin"),
    Setting("dcnv_preprocess.win_baseline", float, 60.0, 1.0, _INF),
    Setting("dcnv_preprocess.sig_baseline", float, 10.0, 1.0, _INF),
    Setting("dcnv_preprocess.prctile_baseline", float, 8.0, 0.0, 100.0),
)
_BY_NAME = {row.name: row for row in SUITE2P_SETTINGS}

#: Names of suite2p < 1.0's flat ops that are called otherwise now, for the error message.
_OLD_NAMES = {
    "align_by_chan": "registration.align_by_chan2",
    "high_pass": "detection.highpass_time",
    "max_iterations": "detection.sourcery_settings.max_iterations",
    "nbinned": "detection.nbins",
    "neucoeff": "extraction.neuropil_coefficient",
    "spatial_hp_detect": "detection.sparsery_settings.highpass_neuropil",
    "chan2_thres": "detection.chan2_threshold",
    "spikedetect": "run.do_deconvolution",
}

#: What the pipeline decides itself: stages, files and the rate are not a user's settings.
_OWNED = ("run.do_registration", "run.do_detection", "run.multiplane_parallel", "io.", "fs")

#: What needs several passes, or neighbouring frames in one batch, or writes other files; not offered.
NOT_OFFERED = (
    "registration.two_step_registration",
    "registration.smooth_sigma_time",
    "registration.upsample_meanImg",
    "registration.reg_tif",
)


def find_setting(name: str) -> Setting:
    """Find a setting by its full name, or by its last part where only one setting ends so.

    Raises
    ------
    SettingsError
        If no setting, or more than one, is called so, or if it is not a user's to change. The message offers names.
    """
    row = _BY_NAME.get(name)
    if row is None:
        ends = [r for r in SUITE2P_SETTINGS if r.name.rpartition(".")[2] == name]
        if len(ends) == 1:
            row = ends[0]
        else:
            raise SettingsError(_unknown(name, [r.name for r in ends]))
    if is_owned(row.name):
        raise SettingsError.at(
            "suite2p settings",
            field=name,
            expected="a setting of registration, detection, extraction, deconvolution or classification",
            found="one that the pipeline sets itself",
            remedy="Leave it out; stages, files and the rate follow from the session",
        )
    if row.name.startswith(NOT_OFFERED):
        raise SettingsError.at(
            "suite2p settings",
            field=name,
            expected="a setting that works in one pass over the frames",
            found="one that needs several passes or writes other files",
            remedy="Leave it out, or run suite2p itself on the raw binary (keep_raw)",
        )
    return row


def is_owned(name: str) -> bool:
    """Whether the pipeline sets this itself."""
    return name.startswith(_OWNED)


def _unknown(name: str, candidates: list[str]) -> str:
    if candidates:
        remedy = f"Write {' or '.join(candidates)}"
    elif name in _OLD_NAMES:
        remedy = f"suite2p 1.1 calls it {_OLD_NAMES[name]}"
    else:
        names = {r.name.rpartition(".")[2]: r.name for r in SUITE2P_SETTINGS}
        near = difflib.get_close_matches(name, [*names, *_BY_NAME], n=3, cutoff=0.6)
        meant = " or ".join(sorted({names.get(n, n) for n in near}))
        remedy = f"Did you mean {meant}?" if near else "Look it up in suite2p's list of settings"
    return problem(
        "suite2p settings",
        field=name,
        expected="one setting of suite2p 1.1",
        found=f"{len(candidates) or 'none'} of that name",
        remedy=remedy,
    )


def check_value(row: Setting, value: object) -> OptionValue:
    """Check a value against its row and return it in suite2p's type (pairs as lists).

    Raises
    ------
    SettingsError
        If the kind is wrong or a number lies outside its bounds.
    """
    if value is None and row.default is None:
        return None
    kinds: dict[type, tuple[type, ...]] = {float: (int, float), list: (list, tuple), tuple: (list, tuple)}
    wanted = kinds.get(row.kind, (row.kind,))
    fits = isinstance(value, wanted) and (row.kind is bool or not isinstance(value, bool))
    if fits and isinstance(value, int | float) and row.kind in (int, float):
        fits = row.low <= value <= row.high
    numbers = value if isinstance(value, list | tuple) else [value]
    fits = fits and all(math.isfinite(n) for n in numbers if isinstance(n, float))  # no record can hold another
    if not fits:
        bounds = f" from {row.low:g} to {row.high:g}" if row.kind in (int, float) else ""
        raise SettingsError.at(
            "suite2p settings",
            field=row.name,
            expected=row.kind.__name__ + bounds,
            found=repr(value),
            remedy="Correct the value",
        )
    checked: OptionValue = list(value) if isinstance(value, list | tuple) else row.kind(value)
    return checked


def default_settings() -> dict[str, Any]:
    """Give suite2p's defaults as the nested dictionary that it takes, in the types that an override would have."""
    nested: dict[str, Any] = {}
    for row in SUITE2P_SETTINGS:
        set_value(nested, row.name, check_value(row, row.default))
    return nested


def set_value(nested: dict[str, Any], name: str, value: object) -> None:
    """Put a value at its dotted place in suite2p's nested settings."""
    *groups, last = name.split(".")
    for group in groups:
        nested = nested.setdefault(group, {})
    nested[last] = value
