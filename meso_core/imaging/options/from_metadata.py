"""What suite2p is asked to do with one FOV: from imaging metadata to suite2p's ``db`` and ``settings``.

What belongs here: the mapping from a session's metadata and genotype to suite2p's options, each with its source. What
does not: names and bounds of suite2p's settings (``settings_table``), what somebody chose (``overrides``), and running
suite2p (``registration``, ``detection``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from ...errors import MetadataError, SettingsError
from ...scanimage import as_imaging_metadata
from ...session import plane_name
from ...session.imaging import ImagingMetadata
from .genotype import Genotype, get_default_tau
from .overrides import MESOSCOPE, NO_OVERRIDES, Suite2pOverrides
from .settings_table import default_settings, set_value

#: Side of a block of non-rigid registration, px.
_BLOCK_PX = 128


@dataclass(frozen=True)
class Suite2pOptions:
    """suite2p's two dictionaries for one FOV; ``db`` says what the data are, ``settings`` what is done with them."""

    #: Number of the FOV, from 0, in the order of the metadata.
    fov: int
    db: Mapping[str, Any]
    settings: Mapping[str, Any]

    def db_dict(self) -> dict[str, Any]:
        """Return a copy that suite2p may change."""
        return deepcopy(dict(self.db))

    def settings_dict(self) -> dict[str, Any]:
        """Return a copy that suite2p may change."""
        return deepcopy(dict(self.settings))


def suite2p_options(
    meta: Mapping[str, Any] | ImagingMetadata,
    fov: int,
    *,
    tau: float | None = None,
    genotype: Genotype = (),
    overrides: Suite2pOverrides = NO_OVERRIDES,
) -> Suite2pOptions:
    """Make suite2p's options for one FOV from the imaging metadata.

    =========================== ==================================== ==============================================
    field's flat ops            suite2p 1.1                          value and source
    =========================== ==================================== ==============================================
    fs                          settings fs                          frames of the FOV per second, Hz:
                                                                     ``scanImageParams.hRoiManager.scanVolumeRate`` x
                                                                     ``framesPerSlice`` / ``logAverageFactor``
    tau                         settings tau                         ``tau``, or :func:`get_default_tau` of the genotype
    dx, dy                      db dx, dy                            offset of the FOV in its own pixels from the
                                                                     leftmost and topmost corner of all FOVs (``Deg``)
    nchannels                   db nchannels                         channels used: those of ``channelSaved``, two at
                                                                     most; 1 where channels are depths
    functional_chan             db functional_chan                   place of the first green channel (``channelID``)
                                                                     among them, from 1
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
        Imaging metadata of the session, or the content of its file.
    fov
        Number of the FOV, from 0.
    tau
        Decay time of the indicator, s. Default: from ``genotype``.
    genotype
        The subject's alleles, as for :func:`get_default_tau`.
    overrides
        Options that somebody chose; they win.

    Raises
    ------
    MetadataError
        If a field is missing or impossible.
    SettingsError
        If blocks of registration do not fit the FOV.
    """
    meta = as_imaging_metadata(meta)
    if not 0 <= fov < len(meta.fovs):
        raise _impossible("FOV", f"an entry for FOV {fov}", f"{len(meta.fovs)} entries")
    settings = default_settings()
    for name, value in MESOSCOPE.items():
        set_value(settings, name, value)
    settings["fs"] = meta.fov_rate_hz
    settings["tau"] = get_default_tau(genotype) if tau is None else tau
    db = _db(meta, fov)
    settings["registration"]["block_size"] = [_block_side(db[side]) for side in ("Ly", "Lx")]
    for name, value in overrides.values.items():
        set_value(settings, name, value)
    _check_blocks(settings["registration"], db)
    return Suite2pOptions(fov, db, settings)


def _block_side(side: int) -> int:
    """Return 128 px, or half of a side that is not larger: suite2p cannot interpolate where one block is all."""
    return _BLOCK_PX if side > _BLOCK_PX else side // 2


def _check_blocks(registration: Mapping[str, Any], db: Mapping[str, Any]) -> None:
    block = tuple(registration["block_size"])
    if registration["nonrigid"] and not (len(block) == 2 and block[0] < db["Ly"] and block[1] < db["Lx"]):
        raise SettingsError.at(
            "suite2p settings",
            field="registration.block_size",
            expected=f"two sides below those of the FOV ({db['Ly']} × {db['Lx']} px)",
            found=repr(block),
            remedy="Choose smaller blocks, or nonrigid false (MESO_SUITE2P)",
        )


def _db(meta: ImagingMetadata, fov: int) -> dict[str, Any]:
    dx, dy = _offset(meta, fov)
    used = meta.channels_used if meta.fovs[fov].channel is None else (meta.fovs[fov].channel,)
    return {
        "save_folder": "suite2p",
        "nplanes": len({(f.slice_index, f.channel) for f in meta.fovs}),
        "nrois": len(meta.fovs),
        "nchannels": len(used),
        "functional_chan": sorted(used, key=meta.channels_saved.index).index(used[0]) + 1,
        "iplane": fov,
        "iroi": fov,
        "dx": dx,
        "dy": dy,
        "Ly": meta.fovs[fov].ny,
        "Lx": meta.fovs[fov].nx,
        "folder": plane_name(fov),
    }


def _offset(meta: ImagingMetadata, fov: int) -> tuple[int, int]:
    """Place of a FOV's top-left corner in its own pixels, relative to the corner of all FOVs."""
    left, top = (min(f.deg.top_left[axis] for f in meta.fovs) for axis in (0, 1))
    own = meta.fovs[fov]
    x, y = own.deg.top_left
    width, height = math.dist((x, y), own.deg.top_right), math.dist((x, y), own.deg.bottom_left)
    if not width or not height:
        raise _impossible(f"FOV[{fov}].Deg", "four corners that span an area", f"{width:g} by {height:g} degrees")
    return round((x - left) * own.nx / width), round((y - top) * own.ny / height)


def _impossible(field: str, expected: str, found: str) -> MetadataError:
    remedy = "Check which metadata file belongs to this session"
    return MetadataError.at("imaging metadata", field=field, expected=expected, found=found, remedy=remedy)
