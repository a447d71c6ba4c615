"""Each error of the room, met as a person meets it: what its remedy says leads to a result, or to another cause."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged_files import Page, write_tif
from scanimage_files import small_config
from spoilt_session import (
    COMPRESSION,
    DESCRIPTION,
    HEIGHT,
    N_TAGS,
    ROOM,
    STRIP,
    N,
    Spoilt,
    error_sites,
    name_of,
    nan,
    process,
    site,
    write_session,
    write_tifs,
)

from meso_core.errors import MesoError
from meso_core.scanimage import (
    BoutSource,
    ImagingLayout,
    LocalTif,
    ScanImageTif,
    StreamedTif,
    bin_per_plane,
    extract_imaging_meta,
    load_session_metadata,
    local_bouts,
    parse_imaging_metadata,
    parse_session_metadata,
)
from meso_core.scanimage.reference_images import reference_images
from meso_core.session import IMAGING_META_FILE, IMAGING_TIMES_FILE, raw_tifs

pytestmark = pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning")

Act = Callable[[Spoilt], Any]
FIRST, SECOND = "raw_imaging_data_00", "raw_imaging_data_01"
METAS = tuple(f"{bout}/{IMAGING_META_FILE}" for bout in (FIRST, SECOND))
TIMES = f"{FIRST}/{IMAGING_TIMES_FILE}"


@dataclass(frozen=True)
class Case:
    """What is wrong with a session, what the message says to do, doing it, and what is left then."""

    #: Module and function of the room in which the error is raised.
    at: str
    spoil: Act
    says: str
    follow: Act
    #: What the attempt gives in the end: frames of the first FOV by bout, unless it is another attempt.
    left: Any = (3, 3)
    attempt: Act = process
    #: Words of another cause that the remedy reaches, in place of a result.
    then: str = ""


def nothing(_: Spoilt) -> None:
    """The remedy is a setting, or is over by itself."""


def away(*names: str) -> Act:
    return lambda it: it.move_away(*names)


def from_rig(*names: str) -> Act:
    return lambda it: it.from_rig(*names)


def setting(**values: Any) -> Act:
    return lambda it: it.settings.update(values)


# tifs -----------------------------------------------------------------------------------------------------------


def foreign(it: Spoilt) -> None:
    """A tif of another recording: its fields are exchanged."""
    write_tif(it.bout / name_of(9), small_config(((17, 16), (16, 16)), zs=(100.0, 130.0)), [Page(6, 0)])


def another_header(it: Spoilt) -> None:
    write_tif(
        it.bout / name_of(9),
        small_config(((16, 16), (17, 16)), zs=(100.0, 130.0)),
        [Page(6, 0)],
        **{"hScan2D.bidirectional": "false"},
    )


def tif_of(content: bytes) -> Act:
    return lambda it: (it.bout / name_of(9)).write_bytes(content)


def without_its_frame(it: Spoilt) -> None:
    write_tif(it.tif, small_config(((16, 16), (17, 16)), zs=(100.0, 130.0)), [Page(0, 0), Page(2, 0)])


def one_channel_of_two(it: Spoilt) -> None:
    """Metadata of two channels, and tifs of one of them."""
    config = small_config(((16, 16),), channels=(2, 3))
    write_tif(it.session / "both" / name_of(0), config, [Page(f, c) for f in range(3) for c in (0, 1)])
    it.kept = parse_imaging_metadata(extract_imaging_meta([it.session / "both" / name_of(0)], 0.0, 0.0)[0])
    shutil.rmtree(it.session / "both")
    it.move_away(FIRST, SECOND)
    write_tif(it.bout / "rec_00001_00001_chn2.tif", config, [Page(f, 0) for f in range(3)])


def split_as_told(it: Spoilt) -> tuple[int, ...]:
    imaging = it.kept or load_session_metadata(it.session, **it.settings).imaging
    return bin_per_plane(local_bouts(it.session), imaging, it.session.with_name("out"))[0].frames_per_bout


def forget(it: Spoilt) -> None:
    """Make the metadata again."""
    it.kept = None


def shorter_while_it_is_read(it: Spoilt) -> int:
    tif = LocalTif(ScanImageTif(it.tif))
    if it.kept is None:
        it.tif.write_bytes(it.tif.read_bytes()[:-10])
    return sum(len(block.heads) for block in tif.blocks())


def copy_has_finished(it: Spoilt) -> None:
    it.from_rig(f"{FIRST}/{name_of(0)}")
    it.kept = "whole"


def known_before(it: Spoilt) -> None:
    it.kept = load_session_metadata(it.session, **it.settings)
    without_its_frame(it)


def metadata_of_another_recording(it: Spoilt) -> None:
    folder = it.session.with_name("other") / FIRST
    write_tifs(folder, small_config(((20, 16), (17, 16)), zs=(100.0, 130.0)))
    meta = extract_imaging_meta(raw_tifs(folder), 0.0, 0.0)[0]
    it.edit_meta(lambda _: meta)


def stopped_at_once(it: Spoilt) -> None:
    """Of two depths only one was imaged; the rig has one tif more."""
    it.move_away(SECOND)
    it.without_meta()
    write_tifs(it.bout, n=2, per_tif=1)
    (it.bout / name_of(1)).rename(it.rig / FIRST / name_of(1))


def all_empty(it: Spoilt) -> None:
    it.without_meta()
    for tif in raw_tifs(it.bout):
        tif.write_bytes(b"")


def streamed(it: Spoilt) -> int:
    """Pages of the first tif as from an archive, or from disk once they were brought back."""
    tif = it.kept or StreamedTif(it.tif.name, lambda: it.tif.open("rb"))
    return sum(len(block.heads) for block in tif.blocks(1 << 20))


def brought_back(it: Spoilt) -> None:
    it.kept = LocalTif(it.tif)


def description_behind(it: Spoilt) -> None:
    """The text of the first page lies behind its pixels, at the end of the file."""
    data = it.tif.read_bytes()
    at = it.directory(0) + 8 + 20 * (N_TAGS) + 8
    it.tif.write_bytes(data + data[at : at + 2001])
    it.put_tag(0, DESCRIPTION, len(data))


def description_before(it: Spoilt) -> None:
    """The second page has the text of the first."""
    it.put_tag(1, DESCRIPTION, it.directory(0) + 8 + 20 * N_TAGS + 8)


def read_from(it: Spoilt) -> int:
    class Failing:
        def seek(self, *_: int) -> int:
            return 100

        def read(self, _: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    return ScanImageTif(it.tif, Failing() if it.kept is None else None).n_pages  # type: ignore[arg-type]


def headless(old: bytes, new: bytes) -> Act:
    """Change a text of the same length in all tifs of the first bout, which came without metadata."""

    def spoil(it: Spoilt) -> None:
        it.without_meta()
        for tif in raw_tifs(it.bout):
            assert old in tif.read_bytes()
            tif.write_bytes(tif.read_bytes().replace(old, new))

    return spoil


def first_page(tag: int, value: int) -> Act:
    return lambda it: it.put_tag(0, tag, value)


def tifs_with_a_page(it: Spoilt) -> int:
    return len([ScanImageTif(tif).page for tif in raw_tifs(it.bout)])


OUT = away(f"{FIRST}/{name_of(9)}")
FIRST_OUT = away(f"{FIRST}/{name_of(0)}")
#: Of the first bout, frames 3 to 5 are left.
RECOPY, ONE_LESS = "move it out of the bout's folder: the others are used", (1, 3)
IFD = "tiff/ifd.py: "
TIFS = {
    "a tif of other fields": Case("frames/acquisition.py: AcquisitionCheck.add", foreign, "Move tifs of other", OUT),
    "a tif of another header": Case(
        "frames/acquisition.py: AcquisitionCheck._compare_headers", another_header, "Move tifs of other", OUT
    ),
    "a full disk": Case(
        "frames/binaries.py: Movies.check_room",
        lambda it: it.patch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0)),  # type: ignore[attr-defined]
        "Free space",
        lambda it: it.patch.undo(),
    ),
    "frames that lack, refused": Case(
        "frames/faults.py: tell_of_faults",
        lambda it: (without_its_frame(it), it.settings.update(damaged_frames="refuse")),
        "set MESO_DAMAGED_FRAMES=salvage",
        setting(damaged_frames="salvage"),
    ),
    "tifs of all channels and of one": Case(
        "frames/on_file.py: BoutPlacer.begin_tif",
        lambda it: shutil.copy(it.tif, it.bout / "rec_00001_00009_chn2.tif"),
        "Move tifs of other",
        away(f"{FIRST}/rec_00001_00009_chn2.tif"),
    ),
    "a channel without tifs": Case(
        "frames/on_file.py: BoutPlacer.frames",
        one_channel_of_two,
        "move the metadata file away",
        forget,
        (3,),
        split_as_told,
    ),
    "more pages than promised": Case(
        "frames/on_file.py: check_promise",
        lambda it: ((it.session / TIMES).unlink(), it.edit_meta(lambda meta: meta.update(nFrames=3), both=False)),
        "move the metadata file away",
        away(METAS[0]),
    ),
    "a tif twice": Case(
        "frames/placement.py: Placer.end_tif",
        lambda it: shutil.copy(it.tif, it.bout / name_of(9)),
        "Move the tif that is there twice out",
        OUT,
    ),
    "tifs not in order": Case(
        "frames/placement.py: Placer.end_tif",
        lambda it: it.tif.rename(it.bout / name_of(9)),
        "name the tifs in their order",
        lambda it: (it.bout / name_of(9)).rename(it.tif),
    ),
    "a tif that shrinks": Case(
        "frames/sources.py: LocalTif._read",
        nothing,
        "Wait until the copy from the rig has finished",
        copy_has_finished,
        3,
        shorter_while_it_is_read,
    ),
    "pages that differ from the list": Case(
        "frames/split.py: _BoutSplit._check", known_before, "Make the imaging metadata again", forget
    ),
    "metadata of another recording": Case(
        "frames/split.py: _check_shape", metadata_of_another_recording, "move that away", away(*METAS)
    ),
    "no whole volume": Case(
        "frames/split.py: _check_no_fov_is_empty",
        stopped_at_once,
        "Copy the tifs that lack from the rig",
        from_rig(f"{FIRST}/{name_of(1)}"),
        (1,),
    ),
    "a stream that must go back for a text": Case(
        "frames/stream.py: _Forward.fetch", description_before, "Bring the tifs back", brought_back, 3, streamed
    ),
    "a stream that must go back for pixels": Case(
        "frames/stream.py: _Forward._page", description_behind, "Bring the tifs back", brought_back, 3, streamed
    ),
    "no tif with a whole page": Case(
        "metadata/extract.py: _first_whole", all_empty, "move the bout's folder out of the session", away(FIRST), (3,)
    ),
    "no recording": Case(f"{IFD}first_directory", tif_of(b"no tif" * 9), RECOPY, OUT),
    "a picture": Case(f"{IFD}first_directory", tif_of(b"II*\0" + bytes(60)), "Move files that are no recordings", OUT),
    "an old recording": Case(
        f"{IFD}first_directory", tif_of(b"II*\0" + bytes(60) + b"scanimage.SI"), "or move it out of the bout", OUT
    ),
    "too many tags": Case(f"{IFD}read_page", lambda it: it.put(0, 0, b"\xff\xff\xff\0"), RECOPY, FIRST_OUT, ONE_LESS),
    "a chain that goes back": Case(
        f"{IFD}read_page", lambda it: it.put(0, 8 + 20 * N_TAGS, b"\x10" + bytes(7)), RECOPY, FIRST_OUT, ONE_LESS
    ),
    "no height": Case(f"{IFD}read_page", first_page(HEIGHT, 0), RECOPY, FIRST_OUT, ONE_LESS),
    "compressed": Case(f"{IFD}read_page", first_page(COMPRESSION, 5), RECOPY, FIRST_OUT, ONE_LESS),
    "no tag of the height": Case(
        f"{IFD}_Tags.number", lambda it: it.put(0, 8 + 20 * HEIGHT, b"\xff\xff"), RECOPY, FIRST_OUT, ONE_LESS
    ),
    "no pixels": Case(f"{IFD}_Tags.strip_start", first_page(STRIP, 0), RECOPY, FIRST_OUT, ONE_LESS),
    "damage that a copy mends": Case(
        f"{IFD}_Tags.strip_start",
        first_page(STRIP, 0),
        "Copy the file from the rig again",
        from_rig(f"{FIRST}/{name_of(0)}"),
    ),
    "no frame numbers": Case(
        f"{IFD}first_frame",
        lambda it: it.tif.write_bytes(it.tif.read_bytes().replace(b"frameNumbers", b"frameXumbers")),
        RECOPY,
        FIRST_OUT,
        ONE_LESS,
    ),
    "no header of ScanImage": Case(
        f"{IFD}check_scanimage",
        lambda it: it.tif.write_bytes(it.tif.read_bytes().replace(b"SI.", b"XY.")),
        "Move files that are no recordings",
        FIRST_OUT,
        ONE_LESS,
    ),
    "a disk that fails": Case(
        "tiff/pages.py: ScanImageTif.__init__",
        nothing,
        "Copy the file from the rig again, to another disk",
        copy_has_finished,
        3,
        read_from,
    ),
    "no page at all": Case(
        "tiff/ifd.py: first_directory", lambda it: it.tif.write_bytes(b""), RECOPY, FIRST_OUT, 1, tifs_with_a_page
    ),
    "far more than its pages": Case(
        "tiff/pages.py: ScanImageTif._walk",
        lambda it: os.truncate(it.tif, 1 << 22),
        RECOPY,
        FIRST_OUT,
        ONE_LESS,
    ),
}

# what headers say -----------------------------------------------------------------------------------------------


def header(at: str, says: str = "Put the rig's", *, groups: Any = None, **lines: str | None) -> Case:
    """Tifs with other header lines, of a bout that came without metadata; the rig's are found, or the bout left out."""

    def spoil(it: Spoilt) -> None:
        it.without_meta()
        it.write_tifs(lines={name.replace("__", "."): value for name, value in lines.items()}, groups=groups)

    if says == "Put the rig's":
        return Case(at, spoil, says, from_rig(METAS[0]))
    return Case(at, spoil, says, away(FIRST), (3,))


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

# metadata files -------------------------------------------------------------------------------------------------


def meta(at: str, change: Callable[[dict[str, Any]], Any], says: str = "ove the", *, raw: bool = False) -> Case:
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
    "times that are none": Case(f"{BOUTS}_read_times", times(lambda t: t * nan()), "Move the file away", away(TIMES)),
    "fewer times than pages": Case(f"{BOUTS}_read_times", times(lambda t: t[:4]), "Move the file away", away(TIMES)),
    "neither metadata nor tifs": Case(
        f"{BOUTS}_tifs",
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
        setting(center_ml=nan()),
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
    "a field that lacks": meta("metadata/fields.py: check_fields", lambda m: m.pop("nFrames") and None),
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
        "metadata/parse.py: _texts",
        content_of(lambda m: m.update(notes={1, 2})),
        "Correct the field",
        forget,
        4,
        fovs_of_content,
    ),
    "no version, no slices": meta(f"{PATCH}patch_imaging_meta", unversioned, raw=True),
    "a version that is none": meta(f"{PATCH}_version", lambda m: m.update(version="new"), raw=True),
    "no version, no table of ROIs": meta(f"{PATCH}_rois", lambda m: unversioned(m, "text"), raw=True),
    "no version, no ROIs": meta(
        f"{PATCH}_rois",
        lambda m: unversioned(m, {"RoiGroups": {"imagingRoiGroup": {"rois": [1, 2]}}}),
        raw=True,
    ),
    "old corners that are none": meta(f"{PATCH}_transform_axes", old_corners, raw=True),
}

# reference images -----------------------------------------------------------------------------------------------

REFERENCE = f"{FIRST}/reference"
STACK_FILE, IMAGES = f"{REFERENCE}/referenceImage.stack.tif", "reference_images.py: "
STACK = "move the reference folder out of the bout"


def references(it: Spoilt) -> int:
    out = it.session.with_name("out")
    shutil.rmtree(out, ignore_errors=True)
    chosen = {name: value for name, value in it.settings.items() if name.startswith("center")}
    return len(reference_images(it.session, out, **chosen))


def stack_of(content: bytes | np.ndarray) -> Act:
    import tifffile

    def spoil(it: Spoilt) -> None:
        file = it.session / STACK_FILE
        file.write_bytes(content) if isinstance(content, bytes) else tifffile.imwrite(file, content)

    return spoil


def changes_meanwhile(it: Spoilt) -> None:
    whole = shutil.copyfileobj

    def late(source: Any, target: Any, *more: Any) -> None:
        whole(source, target, *more)
        with Path(source.name).open("ab") as file:
            file.write(b"more")

    it.patch.setattr("shutil.copyfileobj", late)


def has_finished(it: Spoilt) -> None:
    it.patch.undo()
    it.from_rig(REFERENCE)


def only_the_first_depth(it: Spoilt) -> None:
    (tif,) = raw_tifs(it.session / REFERENCE)
    write_tif(tif, small_config(((16, 16), (17, 16)), zs=(100.0, 130.0)), [Page(0, 0)])


def raw_stack(change: Callable[[bytes], bytes]) -> Act:
    def spoil(it: Spoilt) -> None:
        (tif,) = raw_tifs(it.session / REFERENCE)
        tif.write_bytes(change(tif.read_bytes()))

    return spoil


def reference(at: str, spoil: Act, says: str, follow: Act, left: int = 2, then: str = "") -> Case:
    return Case(at, spoil, says, follow, left, references, then)


CUT = raw_stack(lambda data: data[:-9])
OTHER_ZS = raw_stack(lambda data: data.replace(b"hStackManager.zs = [100 130]", b"hStackManager.zs = [abc def]"))
EMPTY = lambda it: [tif.unlink() for tif in raw_tifs(it.session / REFERENCE)]  # noqa: E731
REFERENCES = {
    "no reference": reference(
        f"{IMAGES}reference_images",
        away(REFERENCE, f"{SECOND}/reference"),
        "Copy the reference folder",
        from_rig(REFERENCE),
        1,
    ),
    "an empty reference folder": reference(f"{IMAGES}_raw_stack", EMPTY, STACK, away(REFERENCE), 1),
    "two stacks": reference(
        f"{IMAGES}_raw_stack",
        lambda it: (it.session / REFERENCE / "x.tif").write_bytes(b"other"),
        "move the others away",
        away(f"{REFERENCE}/x.tif"),
    ),
    "a stack that is no tif": reference(
        f"{IMAGES}_check_raw", raw_stack(lambda _: b"no tif"), "Copy it from the rig again", from_rig(REFERENCE)
    ),
    "a stack cut short": reference(f"{IMAGES}_check_raw", CUT, STACK, away(REFERENCE), 1),
    "the only stack cut short": reference(
        f"{IMAGES}_check_raw",
        lambda it: (it.move_away(f"{SECOND}/reference"), CUT(it)),
        STACK,
        away(REFERENCE),
        then="do not run this asset",
    ),
    "a stack without a centre": reference(
        f"{IMAGES}_meta_of",
        lambda it: (it.move_away(*METAS), it.settings.clear()),
        "give center_ml and center_ap",
        setting(center_ml=1.0, center_ap=2.0),
    ),
    "a stack without a depth": reference(
        "reference_stack.py: _check_depths_are_there", only_the_first_depth, STACK, away(REFERENCE), 1
    ),
    "a stack of another layout": reference("scanner.py: _Header.depths", OTHER_ZS, LEAVE, away(REFERENCE), 1),
    "a stitched stack that is damaged": reference(
        f"{IMAGES}_read_stack", stack_of(b"II*\0"), "Move it away", away(STACK_FILE)
    ),
    "a stitched stack that is no picture": reference(
        f"{IMAGES}_read_stack", stack_of(np.zeros((2, 8, 8), np.complex64)), "Move it away", away(STACK_FILE)
    ),
    "a stack that changes meanwhile": reference(
        f"{IMAGES}_copied", changes_meanwhile, "Wait until the copy", has_finished
    ),
}

CASES = {**TIFS, **HEADERS, **METADATA, **REFERENCES}

#: Damage inside a tif never ends a run by itself: its whole pages are used, or the bout is refused by a setting.
#: Where it is found, what does it, whether it is met in a stream, and the frames that are left.
SALVAGED: dict[str, tuple[str, Act, bool, tuple[int, ...]]] = {
    "zeros only": (f"{IFD}first_directory", lambda it: it.tif.write_bytes(bytes(5000)), False, (1, 3)),
    "a directory of zeros": (f"{IFD}read_page", lambda it: it.put(1, 0, bytes(8)), False, (2, 3)),
    "cut in a directory": (
        "tiff/pages.py: ScanImageTif._fetch",
        lambda it: it.tif.write_bytes(it.tif.read_bytes()[: it.directory(2) + 30]),
        False,
        (2, 3),
    ),
    "cut in pixels": (
        "tiff/pages.py: ScanImageTif._walk_from",
        lambda it: it.tif.write_bytes(it.tif.read_bytes()[:-9]),
        False,
        (2, 3),
    ),
    "a page of another size": (
        "tiff/pages.py: ScanImageTif._walk_from",
        lambda it: it.put_tag(2, 0, 8) or it.put_tag(2, 10, 2 * 8 * 41),
        False,
        (2, 3),
    ),
    "a circle": (
        "tiff/pages.py: ScanImageTif._regular_run",
        lambda it: it.put(2, 8 + 20 * N_TAGS, b"\x10" + bytes(7)),
        False,
        (2, 3),
    ),
    "a stream that ends": (
        "frames/stream.py: _Forward._fill",
        lambda it: it.tif.write_bytes(it.tif.read_bytes()[:-9]),
        True,
        (2, 3),
    ),
    "a stream whose chain leaves it": (
        "frames/stream.py: _Forward.fetch",
        lambda it: it.put(1, 8 + 20 * N_TAGS, b"\0\0\0\x10" + bytes(4)),
        True,
        (2, 3),
    ),
    "a stream with a page of another size": (
        "frames/stream.py: _Forward._next",
        lambda it: it.put_tag(2, 0, 8) or it.put_tag(2, 10, 2 * 8 * 41),
        True,
        (2, 3),
    ),
}

#: Raised for another function of the same module, which tells it in its own words.
INNER = Counter(
    {
        "metadata/parse.py: parse_session_metadata": 1,
        "metadata/patch.py: _number_slices": 1,
        "reference_images.py: _read_stack": 1,
        "tiff/header.py: _tokens": 1,
        "tiff/header.py: _value": 1,
        "frames/stream.py: _Forward.blocks": 1,
        "tiff/pages.py: ScanImageTif.page": 1,
    }
)


@pytest.fixture(scope="module")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rig") / "001"
    write_session(folder)
    return folder


@pytest.fixture
def spoilt(session_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spoilt:
    shutil.copytree(session_folder, tmp_path / "001")
    shutil.copytree(session_folder, tmp_path / "rig")
    return Spoilt(tmp_path / "001", monkeypatch)


@pytest.fixture(autouse=True, scope="module")
def no_waiting_for_the_disk():
    """Whether movies are flushed is asked elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


@pytest.mark.parametrize("name", CASES)
def test_following_the_remedy_leads_to_a_result(spoilt: Spoilt, name: str) -> None:
    case = CASES[name]
    case.spoil(spoilt)
    with pytest.raises(MesoError) as caught:
        case.attempt(spoilt)
    assert site(caught.value) == case.at
    assert case.says in str(caught.value)
    case.follow(spoilt)
    if case.then:
        with pytest.raises(MesoError, match=case.then):
            case.attempt(spoilt)
    else:
        assert case.attempt(spoilt) == case.left


@pytest.mark.parametrize("name", SALVAGED)
def test_whole_pages_of_a_damaged_tif_are_used_as_its_remedy_says(spoilt: Spoilt, name: str) -> None:
    at, spoil, is_stream, left = SALVAGED[name]
    spoil(spoilt)
    tif = StreamedTif(spoilt.tif.name, lambda: spoilt.tif.open("rb")) if is_stream else LocalTif(spoilt.tif)
    list(tif.blocks(1 << 20))
    assert tif.damage is not None
    assert site(tif.damage) == at
    spoilt.settings["damaged_frames"] = "refuse"
    with pytest.raises(MesoError, match=r"tif cut short.*set MESO_DAMAGED_FRAMES=salvage"):
        process(spoilt)
    spoilt.settings["damaged_frames"] = "salvage"
    assert process(spoilt) == left
    if is_stream:
        metadata = load_session_metadata(spoilt.session, **spoilt.settings)
        sources = [
            BoutSource(bout.name, [StreamedTif(p.name, lambda p=p: p.open("rb")) for p in raw_tifs(bout)])
            for bout in spoilt.bouts
        ]
        out = spoilt.session.with_name("streams")
        assert bin_per_plane(sources, metadata.imaging, out)[0].frames_per_bout == left


def test_each_error_of_the_room_has_its_case() -> None:
    """A new ``raise`` needs a row of the table: as many of a function as it has."""
    told = Counter(case.at for case in CASES.values()) + Counter(at for at, *_ in SALVAGED.values()) + INNER
    missing = Counter(error_sites()) - told
    assert not missing
    assert set(told) <= set(error_sites()), "rows of errors that are no more"


def test_no_remedy_of_the_room_is_a_check_that_leads_nowhere() -> None:
    texts = " ".join(path.read_text() for path in ROOM.rglob("*.py"))
    assert re.findall(r'remedy\w*\s*=\s*\(?\s*f?"(?:Check|Use the tifs|Look)[^"]*', texts, re.IGNORECASE) == []
