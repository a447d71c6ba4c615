"""Errors of what headers say of a recording, and what a person does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from spoilt_session import FIRST, METAS, Act, Case, Spoilt, away, from_rig

from meso_core.session import raw_tifs


def header(at: str, says: str = "Put the rig's", *, groups: Any = None, **lines: str | None) -> Case:
    """Tifs with other header lines, of a bout that came without metadata; the rig's are found, or the bout left out."""

    def spoil(it: Spoilt) -> None:
        it.without_meta()
        it.write_tifs(lines={name.replace("__", "."): value for name, value in lines.items()}, groups=groups)

    if says == "Put the rig's":
        return Case(at, spoil, says, from_rig(METAS[0]))
    return Case(at, spoil, says, away(FIRST), (3,))


def headless(old: bytes, new: bytes) -> Act:
    """Change a text of the same length in all tifs of the first bout, which came without metadata."""

    def spoil(it: Spoilt) -> None:
        it.without_meta()
        for tif in raw_tifs(it.bout):
            assert old in tif.read_bytes()
            tif.write_bytes(tif.read_bytes().replace(old, new))

    return spoil


def rois(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[str], str]:
    """Change the ROIs of the ROI groups."""

    def changed(text: str) -> str:
        groups = json.loads(text)
        group = groups["RoiGroups"]["imagingRoiGroup"]
        group["rois"] = change(group["rois"]) or group["rois"]
        return json.dumps(groups)

    return changed


def size(index: int, pixels: int) -> Callable[[str], str]:
    """Give the first ROI another number of columns (0) or rows (1)."""
    return rois(lambda rs: rs[0]["scanfields"]["pixelResolutionXY"].__setitem__(index, pixels))


LEAVE = "move its folder (raw_imaging_data_NN, or reference in it) out of the session"
ZS, COUNT = "[100 130]", {"hStackManager__numFramesPerVolume": None, "hStackManager__actualNumSlices": None}
SLOW = {"hStackManager__enable": None, "hFastZ__enable": "false", "hStackManager__numSlices": "2"}
HEADERS = {
    "no numbers of channels": header("metadata/extract.py: saved_channels", hChannels__channelSave="'x'"),
    "no start of the acquisition": Case(
        "metadata/extract.py: _start_time", headless(b"epoch", b"apoch"), "Put the rig's", from_rig(METAS[0])
    ),
    "a resolution that is none": header("metadata/rois.py: SiHeader.number", objectiveResolution="'x'"),
    "no resolution": header("metadata/rois.py: SiHeader.__getitem__", objectiveResolution=None),
    "no ROI at any depth": header(
        "metadata/rois.py: _imaged_places", groups=rois(lambda rs: [{**r, "enable": 0} for r in rs])
    ),
    "ROIs of another kind": header("metadata/rois.py: imaged_places", groups=rois(lambda rs: rs[0].pop("scanfields"))),
    "scanfields without depths": header(
        "metadata/rois.py: field_at",
        groups=rois(lambda rs: rs[0].update(zs=[1, 2, 3], scanfields=[rs[0]["scanfields"]] * 2)),
    ),
    "a ROI wider than the page": header("metadata/rois.py: _start_rows", groups=size(0, 18)),
    "a ROI higher than the page": header("metadata/rois.py: _start_rows", groups=size(1, 18)),
    "ROI groups cut": header(
        "tiff/header.py: parse_roi_groups", "Copy the tif from the rig again", groups=lambda text: text[:-9]
    ),
    "no ROI groups": header("tiff/header.py: parse_roi_groups", groups=lambda _: json.dumps({"Notes": "none"})),
    "averages over depths": header("scanner.py: read_stack", LEAVE, hScan2D__logAverageFactor="2"),
    "depths that are none": header("scanner.py: _Header.depths", LEAVE, hStackManager__zs="[a b]"),
    "off, and a stack": header("scanner.py: _layout", LEAVE, hStackManager__enable="false"),
    "an unknown mode": header("scanner.py: _stack_manager", LEAVE, hStackManager__stackMode="'odd'"),
    "endless": header("scanner.py: _stack_manager", LEAVE, hStackManager__stackMode="'slow'"),
    "fewer with fly-back": header(
        "scanner.py: _stack_manager", LEAVE, hStackManager__numFramesPerVolumeWithFlyback="1"
    ),
    "no whole slices": header("scanner.py: _per_slice", LEAVE, hStackManager__framesPerSlice="3"),
    "2016, frames without depths": header(
        "scanner.py: _fast_z",
        LEAVE,
        hStackManager__enable=None,
        hFastZ__numFramesPerVolume="7",
        hFastZ__numDiscardFlybackFrames="1",
    ),
    "2016, endless": header("scanner.py: _slow_by_slices", LEAVE, **SLOW),
    "2016, slices without depths": header(
        "scanner.py: _slow_by_slices",
        LEAVE,
        **{**SLOW, "hStackManager__numSlices": "5"},
        hStackManager__framesPerSlice="3",
    ),
    "on or off untold": header("scanner.py: _untold", LEAVE, hStackManager__enable=None, hFastZ__enable=None, **COUNT),
}
