"""Channels: colours of each field of view, or depths.

What belongs here: fields of view of recordings whose channels are depths, and what is said of channels that are not
used. What does not: which channel shows activity (``session.imaging``), and pages (``layout``).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from ...errors import MesoWarning, MetadataError
from ...session.imaging import ImagingMetadata

#: What the channels of a recording are.
Channels = Literal["colours", "depths"]
#: A mesoscope has two detectors for each of two beams; more channels are the beads of a light beads microscope.
_MOST_COLOURS = 4


def channels_as_depths(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Give each channel fields of view of its own.

    Light beads microscopy sends one pulse to many depths; each comes back at another time and is saved as a channel.
    All are imaged in the same frame.

    Parameters
    ----------
    meta
        Content of ``_ibl_rawImagingData.meta.json``. It is not changed.

    Returns
    -------
    dict
        A copy in which each FOV is there once for each channel saved, channel by channel, as ``FOV[].channel``. No
        header tells the depths of the channels, so these FOVs have no ``Zs``.
    """
    fovs = [meta["FOV"]] if isinstance(meta["FOV"], Mapping) else meta["FOV"]
    if any("channel" in fov for fov in fovs):
        return dict(meta)
    saved = np.atleast_1d(meta["channelSaved"]).tolist()
    whole = [{name: value for name, value in fov.items() if name != "Zs"} for fov in fovs]
    return {**meta, "FOV": [{**fov, "channel": channel} for channel in saved for fov in whole]}


def check_channels(meta: ImagingMetadata, where: str) -> None:
    """Make sure that no channel is left out silently.

    Parameters
    ----------
    meta
        Imaging metadata.
    where
        Bout or file that they are of, for messages.

    Raises
    ------
    MetadataError
        If there are so many channels that they must be depths, and they are taken as colours.

    Warns
    -----
    MesoWarning
        If more channels are saved than are used.
    """
    if meta.channels_are_depths or not meta.channels_unused:
        return
    if meta.n_channels > _MOST_COLOURS:
        raise MetadataError.at(
            where,
            field="channelSaved",
            expected=f"one to {_MOST_COLOURS} channels, as colours of each field of view",
            found=f"{meta.n_channels}: channels that are depths, as of light beads microscopy",
            remedy="Set MESO_CHANNELS=depths (channels='depths'), which makes fields of view of each channel",
        )
    unused, used = (", ".join(map(str, channels)) for channels in (meta.channels_unused, meta.channels_used))
    warnings.warn(
        f"{where}: channel {unused} is saved, but only {used} is used: suite2p takes the channel that shows activity "
        "and one other. The rest stays in the raw tifs. If the channels are depths, set MESO_CHANNELS=depths",
        MesoWarning,
        stacklevel=3,
    )
