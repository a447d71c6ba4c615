"""What suite2p is asked to do with one FOV: from imaging metadata to suite2p's ``db`` and ``settings``.

What belongs here: the mapping from a session's metadata and genotype to suite2p's options, each with its source. What
does not: names and bounds of suite2p's settings (``settings_table``), and running it (``registration``,
``detection``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from ...errors import MetadataError, SettingsError, brief, problem
from ...matlab import as_list
from ...scanimage.metadata.fields import check_fields
from ...session import plane_name
from .settings_table import SUITE2P_SETTINGS, check_value, default_settings, find_setting, set_value

#: GCaMP variant → decay time of its fluorescence in s, as suite2p's documentation of ``tau`` recommends.
TAU_S: Mapping[str, float] = {"G6s": 1.5, "G6m": 1.0, "G6f": 0.7}
_DEFAULT_TAU_S = 1.5

#: Side of a block of non-rigid registration, px.
_BLOCK_PX = 128

#: What a mesoscope session sets otherwise than suite2p's defaults; see the table in :func:`suite2p_options`.
_MESOSCOPE = {
    "registration.nonrigid": True,
    "registration.maxregshift": 0.05,
    "registration.nimg_init": 400,
    "registration.batch_size": 500,
    "detection.denoise": True,
    "classification.use_builtin_classifier": True,
    "run.do_regmetrics": True,
    "io.combined": False,
}
#: What follows from a session's metadata, or its subject, where nobody says otherwise.
_BY_SESSION = ("fs", "tau", "registration.block_size")


@dataclass(frozen=True)
class Suite2pOptions:
    """suite2p's two dictionaries for one FOV; ``db`` says what the data are, ``settings`` what is done with them."""

    #: Index of the FOV in ``meta['FOV']``.
    fov: int
    db: Mapping[str, Any]
    settings: Mapping[str, Any]

    def db_dict(self) -> dict[str, Any]:
        """Return a copy that suite2p may change."""
        return deepcopy(dict(self.db))

    def settings_dict(self) -> dict[str, Any]:
        """Return a copy that suite2p may change."""
        return deepcopy(dict(self.settings))


def get_default_tau(genotype: Iterable[str | Mapping[str, Any]] | str) -> float:
    """Decay time of the indicator that a subject's genotype tells.

    Parameters
    ----------
    genotype
        Names of the subject's alleles, as in ``"Ai94(TITL-G6s)-ICL-G6s"``; the first that ends in a GCaMP6 variant
        (``-G6s``, ``-G6m``, ``-G6f``) counts. Records of Alyx' ``genotype`` with the name under ``allele`` will do, and
        so will one text with ``;``, commas or spaces between the names.

    Returns
    -------
    float
        1.5, 1.0 or 0.7 s; 1.5 s where no allele tells.

    Raises
    ------
    SettingsError
        If the genotype is something else.

    Examples
    --------
    >>> get_default_tau(["Camk2a-tTA", "tetO-G6f"])
    0.7
    """
    matches = (re.search(r".-(G6[smf])$", allele) for allele in _allele_names(genotype))
    variant = next((m[1] for m in matches if m), None)
    return TAU_S.get(variant, _DEFAULT_TAU_S) if variant else _DEFAULT_TAU_S


def _allele_names(genotype: Any) -> list[str]:
    if isinstance(genotype, str):
        return re.split(r"[;,\s]+", genotype)
    entries = list(genotype) if isinstance(genotype, Iterable) and not isinstance(genotype, Mapping) else [genotype]
    names = [entry.get("allele") if isinstance(entry, Mapping) else entry for entry in entries]
    wrong = next((entry for entry, name in zip(entries, names, strict=True) if not isinstance(name, str)), None)
    if wrong is not None or None in names:
        remedy = "Give a list of names, a text with ';' between them, or the subject's 'genotype' as Alyx holds it"
        raise SettingsError(problem("genotype", expected="names of alleles", found=brief(wrong), remedy=remedy))
    return [str(name) for name in names]


def suite2p_options(
    meta: Mapping[str, Any],
    fov: int,
    *,
    tau: float | None = None,
    genotype: Iterable[str | Mapping[str, Any]] | str = (),
    overrides: Mapping[str, Any] | None = None,
) -> Suite2pOptions:
    """Make suite2p's options for one FOV from the imaging metadata.

    =========================== ==================================== ==============================================
    field's flat ops            suite2p 1.1                          value and source
    =========================== ==================================== ==============================================
    fs                          settings fs                          scan volume rate, Hz:
                                                                     ``scanImageParams.hRoiManager.scanVolumeRate``
    tau                         settings tau                         ``tau``, or :func:`get_default_tau` of the genotype
    dx, dy                      db dx, dy                            offset of the FOV in its own pixels from the
                                                                     leftmost and topmost corner of all FOVs (``Deg``)
    nchannels                   db nchannels                         length of ``channelSaved``
    functional_chan             db functional_chan                   place of the first green channel (``channelID``)
                                                                     in ``channelSaved``, from 1
    align_by_chan               settings registration.align_by_chan2 False: the functional channel
    nonrigid                    settings registration.nonrigid       True
    block_size                  settings registration.block_size     128 × 128 px; half a side of 128 px or less
    maxregshift                 settings registration.maxregshift    0.05 of the shorter side
    nimg_init                   settings registration.nimg_init      400 frames for the reference
    batch_size                  settings registration.batch_size     500, upper bound; the loop takes fewer at a time
                                                                     where that is faster, with the same result
    denoise                     settings detection.denoise           True
    badframes.mat               ``bad_frames.npy``                   excluded from cropping and detection
    do_regmetrics               settings run.do_regmetrics           True, where there are at least 1500 frames
    roidetect, do_registration  settings run.*                       the stages that were asked for
    keep_movie_raw              –                                    the raw binary stays until registration is whole
    save_mat, combined          settings io.*                        False: ALF takes their place
    num_workers                 –                                    cores and memory at hand (``schedule``)
    –                           settings classification.             True, so that a classifier that a user trained on
                                use_builtin_classifier               one computer does not change results there
    =========================== ==================================== ==============================================

    The left column is what ``ibllib.pipes.mesoscope_tasks`` passed to suite2p 0.x.

    Parameters
    ----------
    meta
        Consolidated ``_ibl_rawImagingData.meta.json``.
    fov
        Index in ``meta['FOV']``.
    tau
        Decay time of the indicator, s. Default: from ``genotype``.
    genotype
        The subject's alleles, as for :func:`get_default_tau`.
    overrides
        Setting name → value, by full name (``"detection.threshold_scaling"``) or by its last part where that is
        unambiguous (``"threshold_scaling"``).

    Raises
    ------
    MetadataError
        If a field is missing or impossible.
    SettingsError
        If an override is unknown, ambiguous, out of bounds, or not a user's to set.
    """
    check_fields(meta, "imaging metadata", ("FOV", "FOV[].nXnYnZ"))
    fovs = meta["FOV"]
    if not 0 <= fov < len(fovs):
        raise MetadataError(
            problem(
                "imaging metadata",
                field="FOV",
                expected=f"an entry for FOV {fov}",
                found=f"{len(fovs)} entries",
                remedy="Check which metadata file belongs to this session",
            )
        )
    settings = default_settings()
    for name, value in _MESOSCOPE.items():
        set_value(settings, name, value)
    settings["fs"] = _volume_rate(meta)
    settings["tau"] = get_default_tau(genotype) if tau is None else tau
    db = _db(meta, fov)
    settings["registration"]["block_size"] = [_block_side(db[side]) for side in ("Ly", "Lx")]
    for name, value in check_options(overrides or {}).items():
        set_value(settings, name, value)
    _check_blocks(settings["registration"], db)
    return Suite2pOptions(fov, db, settings)


def check_options(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Check overrides by name and value, without a session.

    Parameters
    ----------
    overrides
        As for :func:`suite2p_options`.

    Returns
    -------
    dict
        Full name → value in suite2p's type.

    Raises
    ------
    SettingsError
        As :func:`suite2p_options`.
    """
    rows = {name: find_setting(name) for name in overrides}
    return {row.name: check_value(row, overrides[name]) for name, row in rows.items()}


def differing_options(old: Mapping[str, Any], new: Mapping[str, Any], stage: str) -> dict[str, tuple[Any, Any]]:
    """Compare two sets of overrides as they bear on one stage; to state the default is to state nothing.

    Parameters
    ----------
    old, new
        As for :func:`suite2p_options`.
    stage
        ``registration`` or ``detection`` (with extraction, deconvolution and classification).

    Returns
    -------
    dict
        Full name → value before and now. What each session sets for itself is shown as such.
    """
    defaults = {row.name: row.default for row in SUITE2P_SETTINGS}
    defaults |= {**_MESOSCOPE, **dict.fromkeys(_BY_SESSION, "by session")}
    before, now = ({**defaults, **check_options(given)} for given in (old, new))
    return {
        name: (before[name], now[name])
        for name in sorted(defaults)
        if _stage_of(name) == stage and _plain(before[name]) != _plain(now[name])
    }


def _stage_of(name: str) -> str | None:
    """Stage that a setting bears on; None for the device, on which no result shall depend."""
    if name.startswith("registration.") or name == "run.do_regmetrics":
        return "registration"
    return None if name == "torch_device" else "detection"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _block_side(side: int) -> int:
    """Return 128 px, or half of a side that is not larger: suite2p cannot interpolate where one block is all."""
    return _BLOCK_PX if side > _BLOCK_PX else side // 2


def _check_blocks(registration: Mapping[str, Any], db: Mapping[str, Any]) -> None:
    block = tuple(registration["block_size"])
    if registration["nonrigid"] and not (len(block) == 2 and block[0] < db["Ly"] and block[1] < db["Lx"]):
        raise SettingsError(
            problem(
                "suite2p settings",
                field="registration.block_size",
                expected=f"two sides below those of the FOV ({db['Ly']} × {db['Lx']} px)",
                found=repr(block),
                remedy="Choose smaller blocks, or nonrigid=False",
            )
        )


def _db(meta: Mapping[str, Any], fov: int) -> dict[str, Any]:
    dx, dy = _offsets(meta)
    nx, ny = (int(n) for n in meta["FOV"][fov]["nXnYnZ"][:2])
    n_channels, functional = _channels(meta)
    return {
        "save_folder": "suite2p",
        "nplanes": len({f.get("slice_id", 0) for f in meta["FOV"]}),
        "nrois": len(meta["FOV"]),
        "nchannels": n_channels,
        "functional_chan": functional,
        "iplane": fov,
        "iroi": fov,
        "dx": dx[fov],
        "dy": dy[fov],
        "Ly": ny,
        "Lx": nx,
        "folder": plane_name(fov),
    }


def _volume_rate(meta: Mapping[str, Any]) -> float:
    manager = (meta.get("scanImageParams") or {}).get("hRoiManager") or {}
    rate = manager.get("scanVolumeRate")
    if not isinstance(rate, int | float) or not rate > 0:
        raise MetadataError(
            problem(
                "imaging metadata",
                field="scanImageParams.hRoiManager.scanVolumeRate",
                expected="volumes per second",
                found=repr(rate),
                remedy="Extract the metadata again from the tifs",
            )
        )
    return float(rate)


def _offsets(meta: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    """Place of each FOV's top-left corner in its own pixels, relative to the corner of all FOVs."""
    try:
        corners = [f["Deg"] for f in meta["FOV"]]
        left = min(c["topLeft"][0] for c in corners)
        top = min(c["topLeft"][1] for c in corners)
        dx, dy = [], []
        for field, c in zip(meta["FOV"], corners, strict=True):
            nx, ny = field["nXnYnZ"][:2]
            dx.append(round((c["topLeft"][0] - left) * nx / _distance(c["topLeft"], c["topRight"])))
            dy.append(round((c["topLeft"][1] - top) * ny / _distance(c["topLeft"], c["bottomLeft"])))
    except (KeyError, IndexError, TypeError, ZeroDivisionError) as error:
        raise MetadataError(
            problem(
                "imaging metadata",
                field="FOV",
                expected="Deg corners (topLeft, topRight, bottomLeft) and nXnYnZ of each FOV",
                found=f"{type(error).__name__} {error}",
                remedy="Bring the metadata up to date with patch_imaging_meta",
            )
        ) from error
    return dx, dy


def _distance(a: Sequence[float], b: Sequence[float]) -> float:
    return float(((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) ** 0.5)


def _channels(meta: Mapping[str, Any]) -> tuple[int, int]:
    """Count the saved channels, and find the functional one's place among them, from 1."""
    saved = as_list(meta.get("channelSaved", 1))
    if not 1 <= len(saved) <= 2:
        raise MetadataError(
            problem(
                "imaging metadata",
                field="channelSaved",
                expected="one or two channels",
                found=repr(saved),
                remedy="Split the recording by pairs of channels",
            )
        )
    green = as_list((meta.get("channelID") or {}).get("green", []))
    places = [i for i, channel in enumerate(saved, start=1) if channel in green]
    return len(saved), places[0] if places else 1
