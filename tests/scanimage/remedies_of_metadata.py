"""Errors of metadata files, and what a person does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
from remedies_of_tifs import forget
from scanimage_files import small_config
from spoilt_session import (
    FIRST,
    METAS,
    SECOND,
    TIMES,
    Act,
    Case,
    N,
    Spoilt,
    away,
    from_rig,
    setting,
    write_tifs,
)

from meso_core.scanimage import ImagingLayout, extract_imaging_meta, load_session_metadata, parse_session_metadata
from meso_core.session import IMAGING_META_FILE, raw_tifs


def meta(at: str, change: Callable[[dict[str, Any]], Any], says: str = "file away", *, raw: bool = False) -> Case:
    """Metadata of both bouts that hold what they must not; ``raw``: with the ROIs, with which FOVs are compared."""

    def spoilt(content: dict[str, Any]) -> Any:
        if not raw:
            content["rawScanImageMeta"]["Artist"] = {}
        return change(content)

    return Case(at, lambda it: it.edit_meta(spoilt), says, away(*METAS))


def fov(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["FOV"][0].update(values)


def exchanged(content: dict[str, Any]) -> None:
    """Slices numbered in another order than they were scanned."""
    for one in content["FOV"]:
        one["slice_id"] = 1 - one["slice_id"]


def unversioned(content: dict[str, Any], artist: Any = None) -> None:
    del content["version"]
    if artist is not None:
        content["rawScanImageMeta"]["Artist"] = artist
    for one in content["FOV"]:
        del one["slice_id"]


def old_corners(content: dict[str, Any]) -> None:
    content.update(version="0.1.4", coordsTF=[[1, 0], [0, 1], [0, 0]])
    content["FOV"][0]["Deg"]["topLeft"] = "here"


def times(change: Callable[[np.ndarray], np.ndarray]) -> Act:
    return lambda it: np.save(it.session / TIMES, change(np.load(it.session / TIMES)))


def many_channels(it: Spoilt) -> None:
    it.move_away(SECOND)
    it.without_meta()
    write_tifs(it.bout, small_config(((16, 16),), channels=(1, 2, 3, 4, 5), channels_are_depths=True))


def content_of(change: Callable[[dict[str, Any]], Any]) -> Act:
    """Keep metadata that no file can hold."""

    def spoil(it: Spoilt) -> None:
        content = json.loads((it.bout / IMAGING_META_FILE).read_text())
        it.kept = change(content) or content

    return spoil


def fovs_of_content(it: Spoilt) -> int:
    content = it.kept if it.kept is not None else json.loads((it.bout / IMAGING_META_FILE).read_text())
    return len(ImagingLayout.from_meta(content).fovs)


def nested() -> list[Any]:
    value: list[Any] = []
    for _ in range(3000):
        value = [value]
    return value


def session_text(it: Spoilt) -> int:
    text = it.kept or load_session_metadata(it.session, **it.settings).to_json()
    return len(parse_session_metadata(text, "session metadata").bouts)


def extracted(it: Spoilt) -> int:
    center = it.settings["center_ml"], it.settings["center_ap"]
    return len(extract_imaging_meta(raw_tifs(it.bout) if it.kept is None else it.kept, *center)[1])


LAYOUT, AGREEMENT, BOUTS, PATCH = "layout.py: ", "metadata/agreement.py: ", "metadata/bouts.py: ", "metadata/patch.py: "
METADATA = {
    "lines with a gap": meta(f"{LAYOUT}_fov", fov(lineIdx=[1, 2, *range(4, 18)])),
    "a channel that was not saved": meta(f"{LAYOUT}_fov", fov(channel=9)),
    "a slice too many": meta(f"{LAYOUT}_check_depths", fov(slice_id=5)),
    "slices exchanged": meta(f"{LAYOUT}_check_depths", exchanged),
    "a page too low": meta(f"{LAYOUT}_check_rows", lambda m: m["rawScanImageMeta"].update(Height=10)),
    "a page too narrow": meta(f"{LAYOUT}_check_rows", lambda m: m["rawScanImageMeta"].update(Width=10)),
    "a page too wide": meta(f"{LAYOUT}_check_rows", lambda m: m["rawScanImageMeta"].update(Width=20)),
    "FOVs that overlap": meta(f"{LAYOUT}_check_rows", lambda m: m["FOV"][1].update(lineIdx=list(range(9, 26)))),
    "a FOV that was not imaged": meta(f"{AGREEMENT}check_imaged", fov(roiUUID="other"), raw=True),
    "a FOV at another depth": meta(f"{AGREEMENT}_compare", fov(Zs=111.0), raw=True),
    "a FOV of another size": meta(f"{AGREEMENT}_compare", fov(nXnYnZ=[15, 16, 1]), raw=True),
    "a FOV elsewhere": meta(f"{AGREEMENT}_compare", lambda m: m["FOV"][0]["Deg"].update(topLeft=[5.0, 5.0]), raw=True),
    "no ROI was imaged, says the file": meta(
        "metadata/rois.py: _imaged_places",
        lambda m: (
            [r.update(enable=0) for r in m["rawScanImageMeta"]["Artist"]["RoiGroups"]["imagingRoiGroup"]["rois"]]
            and None
        ),
        "Move the metadata file away",
        raw=True,
    ),
    "no tifs to split": Case(
        f"{BOUTS}local_bouts",
        lambda it: [tif.unlink() for tif in raw_tifs(it.bout)],
        "Copy the bout from the rig",
        from_rig(FIRST),
    ),
    "two metadata files": Case(
        f"{BOUTS}find_meta",
        lambda it: shutil.copy(it.bout / IMAGING_META_FILE, it.bout / "x_rawImagingData.meta.json"),
        "Move the wrong one out",
        away(f"{FIRST}/x_rawImagingData.meta.json"),
    ),
    "a list": Case(f"{BOUTS}_read_json", lambda it: it.edit_meta(lambda _: [1]), "Move the file away", away(*METAS)),
    "no bout": Case(f"{BOUTS}_bout_folders", away(FIRST, SECOND), "Copy the raw data", from_rig(FIRST, SECOND)),
    "times in a square": Case(
        f"{BOUTS}_read_times", times(lambda t: t.reshape(2, 3)), "Move the file away", away(TIMES)
    ),
    "times that are none": Case(f"{BOUTS}_read_times", times(lambda t: t * np.nan), "Move the file away", away(TIMES)),
    "fewer times than pages": Case(f"{BOUTS}_read_times", times(lambda t: t[:4]), "Move the file away", away(TIMES)),
    "neither metadata nor tifs": Case(
        f"{BOUTS}_needed",
        lambda it: (it.without_meta(), [tif.unlink() for tif in raw_tifs(it.bout)]),
        "Copy the bout from the rig",
        from_rig(FIRST),
    ),
    "no centre of the window": Case(
        f"{BOUTS}_window_center",
        lambda it: (it.move_away(*METAS), it.settings.clear()),
        "Set MESO_WINDOW_CENTER_ML and MESO_WINDOW_CENTER_AP (center_ml, center_ap)",
        setting(center_ml=1.0, center_ap=2.0),
    ),
    "channels that are depths": Case(
        "metadata/channels.py: check_channels",
        many_channels,
        "Set MESO_CHANNELS=depths",
        setting(channels="depths"),
        (6,),
    ),
    "bouts of different places": Case(
        "metadata/compare.py: check_same_imaging",
        lambda it: it.edit_meta(lambda m: m["centerMM"].update(ML=1.0), both=False),
        "as separate sessions",
        away(FIRST),
        (3,),
    ),
    "a centre that is none": Case(
        "metadata/extract.py: meta_with_frames",
        setting(center_ml=np.nan),
        "Give the centre of the cranial window",
        setting(center_ml=1.0),
        N,
        extracted,
    ),
    "an empty list of tifs": Case(
        "metadata/extract.py: meta_with_frames",
        lambda it: setattr(it, "kept", []),
        "Give the tifs of a bout",
        forget,
        N,
        extracted,
    ),
    "no table": Case(
        "metadata/fields.py: check_fields", content_of(lambda _: [1]), "Correct the field", forget, 4, fovs_of_content
    ),
    "a missing field": meta("metadata/fields.py: check_fields", lambda m: m.pop("nFrames") and None),
    "a field that is wrong": meta("metadata/fields.py: check_fields", lambda m: m.update(nFrames="many")),
    "no session's metadata": Case(
        "metadata/parse.py: parse_session_metadata",
        lambda it: setattr(it, "kept", '{"bouts": []}'),
        "Make the session's metadata again with load_session_metadata",
        forget,
        2,
        session_text,
    ),
    "nested too deep": Case(
        "metadata/parse.py: _finite",
        content_of(lambda m: m.update(notes=nested())),
        "Correct the field",
        forget,
        4,
        fovs_of_content,
    ),
    "what no JSON can hold": Case(
        "metadata/parse.py: _text",
        content_of(lambda m: m.update(notes={1, 2})),
        "Correct the field",
        forget,
        4,
        fovs_of_content,
    ),
    "no version, no slices": meta(f"{PATCH}bring_up_to_date", unversioned, raw=True),
    "a version that is none": meta(f"{PATCH}_version", lambda m: m.update(version="new"), raw=True),
    "no version, no table of ROIs": meta(f"{PATCH}_rois", lambda m: unversioned(m, "text"), raw=True),
    "no version, no ROIs": meta(
        f"{PATCH}_rois",
        lambda m: unversioned(m, {"RoiGroups": {"imagingRoiGroup": {"rois": [1, 2]}}}),
        raw=True,
    ),
    "old corners that are none": meta(f"{PATCH}_transform_axes", old_corners, raw=True),
}
