"""Faults that a simulated session can have, on demand.

What belongs here: one small change of files or pulses for each fault. What does not: detecting faults.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

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
}
_NEED_TWO_BOUTS = ("metadata_mismatch", "missing_folder")
_NEED_TWO_CHANNELS = ("channel_alone", "tif_per_channel")
_QC_SHORT_BY = 3


def check_faults(faults: Sequence[str], config: SimulationConfig) -> frozenset[str]:
    """Refuse faults that are unknown or impossible.

    Raises
    ------
    SettingsError
        If there are any.
    """
    unknown = sorted(set(faults) - set(FAULTS))
    if unknown:
        raise SettingsError.at(
            "simulate_session",
            field="faults",
            expected=", ".join(FAULTS),
            found=", ".join(unknown),
            remedy="Check the spelling",
        )
    for needing, there, what, remedy in (
        (_NEED_TWO_BOUTS, len(config.frames_per_bout), "bouts", "Set frames_per_bout to two numbers"),
        (_NEED_TWO_CHANNELS, len(config.channels), "channels", "Set channels to two numbers"),
    ):
        lonely = sorted(set(faults) & set(needing))
        if lonely and there < 2:
            expected = f"two {what} or more for {', '.join(lonely)}"
            raise SettingsError.at("simulate_session", field="faults", expected=expected, found="one", remedy=remedy)
    return frozenset(faults)


def spoil_pages(tifs: Sequence[TifPlan], faults: frozenset[str], config: SimulationConfig, bout: int) -> list[TifPlan]:
    """Apply the faults that change which pages go into the tifs of a bout."""
    n_frames = config.frames_per_bout[bout]
    last = bout == len(config.frames_per_bout) - 1
    result = []
    for tif in tifs:
        pages = tif.pages
        if last and "missing_frames" in faults:
            pages = pages[(pages[:, 0] < n_frames // 2) | (pages[:, 0] >= n_frames // 2 + 3)]
        if last and "doubled_page" in faults:
            pages = np.repeat(pages, 1 + np.all(pages == (n_frames // 4, 0), axis=1), axis=0)
        if last and "swapped_frames" in faults:
            a = 3 * n_frames // 4
            order = np.where(pages[:, 0] == a, a + 1, np.where(pages[:, 0] == a + 1, a, pages[:, 0]))
            pages = pages[np.argsort(order, kind="stable")]
        if last and "channel_alone" in faults:
            pages = pages[~np.all(pages == (n_frames // 3, len(config.channels) - 1), axis=1)]
        if "tif_per_channel" in faults:
            stem = tif.name.removesuffix(".tif")
            for index, channel in enumerate(config.channels):
                result.append(TifPlan(f"{stem}_chn{channel}.tif", pages[pages[:, 1] == index]))
        else:
            result.append(TifPlan(tif.name, pages))
    return [tif for tif in result if len(tif.pages)]


def qc_short_by(faults: frozenset[str], bout: int, n_bouts: int) -> int:
    """Count the frames that are missing in the QC file of a bout."""
    return _QC_SHORT_BY if "wrong_length_qc" in faults and bout == n_bouts - 1 else 0


def pulses(plan: SessionPlan, faults: frozenset[str]) -> Edges:
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


def spoil_files(session: Path, faults: frozenset[str]) -> None:
    """Apply the faults that change files."""
    bouts = imaging_bouts(session)
    tifs = raw_tifs(bouts[-1])
    if "truncated_tif" in faults and tifs:
        os.truncate(tifs[-1], int(tifs[-1].stat().st_size * 0.61))
    if "empty_tif" in faults and tifs:
        (bouts[-1] / f"{tifs[-1].name[:-9]}{len(tifs) + 1:05d}.tif").touch()
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
