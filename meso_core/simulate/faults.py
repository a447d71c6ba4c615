"""Faults that a simulated session can have, on demand.

What belongs here: one small change of files or pulses for each fault. What does not: detecting faults.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ..errors import SettingsError
from ..json_text import json_text
from ..session import IMAGING_META_FILE, IMAGING_TIMES_FILE, imaging_bouts, raw_tifs
from .config import SimulationConfig
from .files.pages import TifPlan
from .files.timeline import Edges
from .plan import SessionPlan

#: Faults that can be asked for, and what each does.
FAULTS = {
    "truncated_tif": "the last tif ends in the middle of a page",
    "empty_tif": "after the last tif there is one of zero bytes",
    "missing_frames": "three frames in the middle of the last bout were not saved",
    "doubled_page": "a page of the last bout was saved twice",
    "swapped_frames": "two frames of the last bout are in the wrong order",
    "channel_alone": "a frame of the last bout lacks its last channel",
    "tif_per_channel": "each channel has tifs of its own",
    "foreign_tif": "the first bout's folder holds a tif that is no acquisition",
    "missing_metadata": "the last bout has neither metadata nor times",
    "metadata_mismatch": "in the metadata of the last bout a field has moved",
    "dropped_pulses": "the DAQ missed three frame pulses in the middle of the last bout",
    "surplus_pulses": "the DAQ recorded two frames at the end of each bout that were not saved",
    "counter_wrap": "the DAQ's counters overflow in the first bout",
    "missing_bout": "the DAQ recorded nothing of the last bout",
    "missing_folder": "the first bout is in the DAQ recording, but its folder was removed",
    "wrong_length_qc": "the frame QC of the last bout is three frames short",
    "hidden_files": "macOS left .DS_Store, and a hidden file beside each tif of the last bout",
    "thumbs_db": "Windows left Thumbs.db and desktop.ini in the last bout",
    "ea_dir": "a Synology server left the folder @eaDir, with folders named like the tifs of the last bout",
    "partial_copy": "the last tif is also there as a copy that is not finished",
    "session_number_1": "the session's folder is named 1, not 001",
    "foreign_fov": "another program left a FOV folder and a suite2p plane",
}
#: Where in the last bout (or tif) a fault is, as a share, unless ``name@share`` says otherwise.
_PLACES = {"truncated_tif": 0.61, "missing_frames": 0.5, "doubled_page": 0.25, "swapped_frames": 0.75,
           "channel_alone": 0.34}  # fmt: skip
#: Faults, and where they are; 0 where that says nothing.
Faults: TypeAlias = Mapping[str, float]
_NEED_TWO_BOUTS = ("metadata_mismatch", "missing_folder")
_NEED_TWO_CHANNELS = ("channel_alone", "tif_per_channel")
_QC_SHORT_BY = 3


def check_faults(faults: Sequence[str], config: SimulationConfig) -> Faults:
    """Refuse faults that are unknown or impossible, and tell where each is.

    Raises
    ------
    SettingsError
        If there are any.
    """
    known: dict[str, float] = {}
    for fault in faults:
        name, at, share = fault.partition("@")
        placed = not at or (name in _PLACES and re.fullmatch(r"0(\.\d+)?", share))
        if name not in FAULTS or not placed:
            expected = f"{', '.join(FAULTS)}; {', '.join(_PLACES)} may end with a place as @0.5"
            remedy = "Check the spelling"
            raise SettingsError.at("simulate_session", field="faults", expected=expected, found=fault, remedy=remedy)
        known[name] = float(share) if at else _PLACES.get(name, 0.0)
    for needing, possible, expected, found, remedy in (
        (_NEED_TWO_BOUTS, len(config.frames_per_bout) > 1, "two bouts or more", "one",
         "Set frames_per_bout to two numbers"),
        (_NEED_TWO_CHANNELS, len(config.channels) > 1, "two channels or more", "one", "Set channels to two numbers"),
        (("session_number_1",), config.number == "001", "number 001", config.number, "Change the number"),
    ):  # fmt: skip
        if not possible and (lonely := sorted(known.keys() & set(needing))):
            expected = f"{expected} for {', '.join(lonely)}"
            raise SettingsError.at("simulate_session", field="faults", expected=expected, found=found, remedy=remedy)
    return known


def folder_number(config: SimulationConfig, faults: Faults) -> str:
    """Name the session's folder."""
    return "1" if "session_number_1" in faults else config.number


def spoil_pages(tifs: Sequence[TifPlan], faults: Faults, config: SimulationConfig, bout: int) -> list[TifPlan]:
    """Apply the faults that change which pages go into the tifs of a bout."""
    at = {name: int(share * (config.frames_per_bout[bout] // config.frames_averaged)) for name, share in faults.items()}
    last = bout == len(config.frames_per_bout) - 1
    result = []
    for tif in tifs:
        pages = tif.pages
        if last and "missing_frames" in faults:
            pages = pages[(pages[:, 0] < at["missing_frames"]) | (pages[:, 0] >= at["missing_frames"] + 3)]
        if last and "doubled_page" in faults:
            pages = np.repeat(pages, 1 + np.all(pages == (at["doubled_page"], 0), axis=1), axis=0)
        if last and "swapped_frames" in faults:
            a = min(at["swapped_frames"], config.frames_per_bout[bout] // config.frames_averaged - 2)
            a -= (a + 1) % config.frames_per_file == 0  # both are in the same tif
            order = np.where(pages[:, 0] == a, a + 1, np.where(pages[:, 0] == a + 1, a, pages[:, 0]))
            pages = pages[np.argsort(order, kind="stable")]
        if last and "channel_alone" in faults:
            pages = pages[~np.all(pages == (at["channel_alone"], len(config.channels) - 1), axis=1)]
        if "tif_per_channel" in faults:
            stem = tif.name.removesuffix(".tif")
            for index, channel in enumerate(config.channels):
                result.append(TifPlan(f"{stem}_chn{channel}.tif", pages[pages[:, 1] == index]))
        else:
            result.append(TifPlan(tif.name, pages))
    return [tif for tif in result if len(tif.pages)]


def qc_short_by(faults: Faults, bout: int, n_bouts: int) -> int:
    """Count the frames that are missing in the QC file of a bout."""
    return _QC_SHORT_BY if "wrong_length_qc" in faults and bout == n_bouts - 1 else 0


def pulses(plan: SessionPlan, faults: Faults) -> Edges:
    """Make the pulses that the DAQ records."""
    g = plan.geometry
    frames, volumes = [], []
    for bout in plan.bouts:
        last = bout.index == len(plan.bouts) - 1
        if last and "missing_bout" in faults:
            continue
        daq = bout.daq
        if "surplus_pulses" in faults:
            daq = np.append(daq, daq[-1] + g.frame_period * np.array([1, 2]))
        volumes.append(daq[:: g.frames_per_volume])
        if last and "dropped_pulses" in faults:
            middle = len(daq) // 2
            daq = np.delete(daq, slice(middle, middle + 3))
        frames.append(daq)
    wrap = 2**32 - len(plan.bouts[0].daq) // 2 if "counter_wrap" in faults else 0
    nothing = [np.zeros(0)]
    return Edges(np.concatenate(frames or nothing), np.concatenate(volumes or nothing), wrap)


def spoil_files(session: Path, faults: Faults) -> None:
    """Apply the faults that change files."""
    bouts = imaging_bouts(session)
    tifs = raw_tifs(bouts[-1])
    _leave_behind(session, tifs, faults)
    if "truncated_tif" in faults and tifs:
        os.truncate(tifs[-1], int(tifs[-1].stat().st_size * faults["truncated_tif"]))
    if "empty_tif" in faults and tifs:
        after = int(tifs[-1].name.partition("_00001_")[2][:5]) + 1
        tifs[-1].with_name(re.sub(r"_\d{5}(_chn\d+)?\.tif$", rf"_{after:05d}\1.tif", tifs[-1].name)).touch()
    if "foreign_tif" in faults:
        _foreign_tif(bouts[0] / "overview.tif")
    meta = bouts[-1] / IMAGING_META_FILE
    if "metadata_mismatch" in faults and meta.exists():
        _move_first_field(meta)
    if "missing_metadata" in faults:
        meta.unlink(missing_ok=True)
        (bouts[-1] / IMAGING_TIMES_FILE).unlink(missing_ok=True)
    if "missing_folder" in faults:
        shutil.rmtree(bouts[0])


def _leave_behind(session: Path, tifs: Sequence[Path], faults: Faults) -> None:
    """Leave what systems, servers, copies and other programs leave; none of it is data of the session."""
    bout, left = tifs[0].parent if tifs else session, dict[Path, bytes]()
    if "hidden_files" in faults:
        left |= {folder / ".DS_Store": b"\0\0\0\1Bud1" for folder in (session, bout)}
        left |= {tif.with_name(f"._{tif.name}"): b"\0\5\x16\7\0\2\0\0Mac OS X" for tif in tifs}
    if "thumbs_db" in faults:
        left |= {bout / "Thumbs.db": b"\xd0\xcf\x11\xe0", bout / "desktop.ini": b"[.ShellClassInfo]\r\n"}
    if "ea_dir" in faults:
        left |= {bout / "@eaDir" / tif.name / "SYNOPHOTO_THUMB_M.jpg": b"\xff\xd8\xff" for tif in tifs}
    if "partial_copy" in faults and tifs:
        content = tifs[-1].read_bytes()
        left[tifs[-1].with_name(f"{tifs[-1].name}.part")] = content[: len(content) // 2]
    if "foreign_fov" in faults:
        left[session / "alf" / "FOV_09" / "notes.txt"] = b"traces by another program\n"
        left[session / "suite2p" / "plane9" / "F.npy"] = b"\x93NUMPY"
    for path, content in left.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _foreign_tif(path: Path) -> None:
    """Save a picture from ScanImage's screen: Software says ScanImage, but there is no header."""
    import tifffile

    picture = np.arange(64 * 64, dtype=np.int16).reshape(64, 64)
    tifffile.imwrite(path, picture, photometric="minisblack", software="ScanImage", metadata=None)


def _move_first_field(path: Path) -> None:
    meta = json.loads(path.read_text(encoding="utf-8"))
    fov = meta["FOV"][0]
    for corner, (x, y) in fov["Deg"].items():
        fov["Deg"][corner] = [x + 0.5, y]
        moved = np.array([x + 0.5, y, 1.0]) @ np.array(meta["coordsTF"])
        fov["MM"][corner] = moved.tolist()
    path.write_text(json_text(meta), encoding="utf-8")
