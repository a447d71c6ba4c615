"""How ScanImage scans: lines that pass while the galvos fly, and the frames of a volume.

What belongs here: rules that follow from the header alone. What does not: fields of view and pages (``layout``).

Sources of the stack's rules: docs.scanimage.org, "Volume Imaging"; the names of each version as in atlab/scanreader,
AllenInstitute/AllenSDK#1771, MouseLand/suite2p#835.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import MetadataError, brief
from ..session.imaging import StackLayout
from .tiff.header import LEAVE_OUT

_LEAVE_OUT = LEAVE_OUT[0].upper() + LEAVE_OUT[1:]
_UNKNOWN_REMEDY = (
    f"{_LEAVE_OUT}, and send the header's lines SI.hStackManager, SI.hFastZ and SI.VERSION in an issue, so that the "
    "layout can be added"
)


def fly_to_lines(seconds: float, line_period: float) -> int:
    """Lines that the resonant scanner passes while the galvos fly.

    The scanner goes back and forth, so the number is even: ``2 * ceil(t / (2 * line_period))``. The rule fits the
    page heights and frame periods of three microscopes.

    Parameters
    ----------
    seconds
        Fly-to time between scanfields, or fly-back time at the end of a frame.
    line_period
        Seconds per line.
    """
    # rounded first, or the last bit of a decimal number would make 4 lines of 2
    return 2 * math.ceil(round(seconds / (2 * line_period), 6))


def read_stack(header: Mapping[str, Any], where: str, n_known: int = 1) -> StackLayout:
    """Read from a header of any ScanImage since 2016 how frames divide into depths.

    Parameters
    ----------
    header
        Parsed ``SI.`` header.
    where
        File that it is from, for messages.
    n_known
        Slices known otherwise, for a header that says nothing of the stack.

    Raises
    ------
    MetadataError
        If the header contradicts itself, does not tell, or tells a layout whose depths cannot be told apart.

    Notes
    -----
    ============ ============================== =======================================================
    version      on or off                      frames per volume
    ============ ============================== =======================================================
    2019 or less ``hFastZ.enable``; off and     ``hFastZ.numFramesPerVolume``, fly-back included, of it
                 ``numSlices`` > 1 is slow      ``hFastZ.numDiscardFlybackFrames``; depths in
                                                ``hStackManager.zs`` or ``hFastZ.userZs``
    since        ``hStackManager.enable``,      ``hStackManager.numFramesPerVolume`` and
                 ``stackMode`` fast or slow     ``…WithFlyback``; ``zs`` has an entry for each frame
    ============ ============================== =======================================================

    A field that is absent is unknown, never "off". A slow stack has no fly-back frames.
    """
    said = _Header(header, where)
    layout = _layout(said, n_known)
    averaged = said.count("hScan2D.logAverageFactor") or 1
    in_turns = layout.n_slices > 1 or layout.n_flyback > 0
    if averaged > 1 and in_turns and (layout.frames_per_slice % averaged or layout.n_flyback % averaged):
        raise said.error(
            "hScan2D.logAverageFactor",
            f"averages over frames of one depth ({layout.frames_per_slice} frames per slice, {layout.n_flyback} "
            "fly-back frames, both multiples of it)",
            f"averages of {averaged} frames, over different slices",
            f"{_LEAVE_OUT}. Depths that were averaged cannot be told apart again. Record without averaging, or with a "
            "divisor of framesPerSlice",
        )
    return replace(layout, frames_averaged=averaged)


class _Header:
    """What a header says, with None for what it does not."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values, self.where = values, where
        parts = (str(values.get(f"SI.VERSION_{part}", "")).strip("'") for part in ("MAJOR", "MINOR", "UPDATE"))
        self.version = "ScanImage " + (".".join(filter(None, parts)) or "of unknown version")

    def number(self, name: str) -> float | None:
        """Value of ``SI.name`` if it is a number, infinity included."""
        value = self.values.get("SI." + name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
        return value if is_number else None

    def count(self, name: str) -> int | None:
        """Value of ``SI.name`` if it is a whole number from 1."""
        value = self.number(name)
        return int(value) if value is not None and math.isfinite(value) and value >= 1 and value == int(value) else None

    def flag(self, name: str) -> bool | None:
        """Value of ``SI.name`` as true or false."""
        value = self.values.get("SI." + name)
        return bool(value) if isinstance(value, int | float) else None

    def depths(self, name: str) -> list[float]:
        """Depths in ``SI.name``: of the first focus where there are two; none where they are not told."""
        value = self.values.get("SI." + name)
        rows = value if isinstance(value, list) else [] if value is None else [value]
        depths = [row[0] if isinstance(row, list) and row else row for row in rows]
        if not all(isinstance(z, int | float) and not isinstance(z, bool) and math.isfinite(z) for z in depths):
            raise self.error(name, "depths in µm", brief(value), _UNKNOWN_REMEDY)
        return [float(z) for z in depths]

    def error(self, name: str, expected: str, found: str, remedy: str = _UNKNOWN_REMEDY) -> MetadataError:
        """Make the error for a field of the stack."""
        found = f"{found} (header of {self.version})"
        return MetadataError.at(self.where, field=f"SI.{name}", expected=expected, found=found, remedy=remedy)


def _layout(said: _Header, n_known: int) -> StackLayout:
    on, fast = said.flag("hStackManager.enable"), said.flag("hFastZ.enable")
    if on is None and fast is None:
        return _untold(said, n_known)
    if on is None:
        return _fast(said) if fast else _slow_by_slices(said)
    if on:
        return _stack_manager(said)
    in_volume = said.count("hStackManager.numFramesPerVolume") or 1
    if (fast or in_volume > 1) and len(zs := said.depths("hStackManager.zs")) > 1:
        expected = f"a stack, as {'hFastZ.enable' if fast else 'numFramesPerVolume'} and the {len(zs)} depths say"
        raise said.error("hStackManager.enable", expected, "false")
    return StackLayout()


def _stack_manager(said: _Header) -> StackLayout:
    """Read a stack as ScanImage writes it since 2019."""
    mode = said.values.get("SI.hStackManager.stackMode")
    if mode not in (None, "fast", "slow"):
        raise said.error("hStackManager.stackMode", "fast or slow", brief(mode))
    zs = said.depths("hStackManager.zs")
    depths, per_slice = _per_slice(said, zs)
    if mode == "slow" and said.number("hStackManager.framesPerSlice") == math.inf and len(depths) > 1:
        raise _endless(said)
    in_volume = len(depths) * per_slice
    told = said.count("hStackManager.numFramesPerVolumeWithFlyback")
    n_flyback = (0 if mode == "slow" else _flyback(said) or 0) if told is None else told - in_volume
    if n_flyback < 0:
        raise said.error("hStackManager.numFramesPerVolumeWithFlyback", f"{in_volume} frames or more", str(told))
    return StackLayout(tuple(depths), len(depths), per_slice, n_flyback, is_slow=mode == "slow")


def _per_slice(said: _Header, zs: list[float]) -> tuple[list[float], int]:
    """Divide the depths of a volume into slices, and tell the frames of each.

    ``zs`` has an entry for each frame of a volume, or in some files one for each slice.
    """
    in_volume, n_slices = said.count("hStackManager.numFramesPerVolume"), said.count("hStackManager.actualNumSlices")
    number = said.number("hStackManager.framesPerSlice")
    told = 1 if number == math.inf else said.count("hStackManager.framesPerSlice")
    # ScanImage divides by infinity there
    n_slices = None if number == math.inf else n_slices
    if len(zs) == 1 and n_slices in (None, 1):
        return zs, in_volume or told or 1
    likely = [told] if told else [in_volume // n_slices] if in_volume and n_slices else [] if _repeats(zs) else [1]
    for per_slice in likely:
        for depths in (_joined(zs, per_slice), zs):
            fits_slices = n_slices in (None, len(depths))
            if depths and fits_slices and in_volume in (None, len(depths) * per_slice):
                return depths, per_slice
    names = ("framesPerSlice", "numFramesPerVolume", "actualNumSlices")
    values = ", ".join(f"{name} {brief(said.values.get('SI.hStackManager.' + name, 'absent'))}" for name in names)
    raise said.error("hStackManager.zs", f"a depth for each frame or each slice of a volume: {values}", brief(zs))


def _joined(zs: list[float], per_slice: int) -> list[float]:
    """Depths of slices from those of their frames; none where they are no whole slices."""
    groups = [zs[i : i + per_slice] for i in range(0, len(zs), per_slice)]
    whole = all(len(group) == per_slice and len(set(group)) == 1 for group in groups)
    return [group[0] for group in groups] if whole else []


def _repeats(zs: Sequence[float]) -> bool:
    return any(a == b for a, b in itertools.pairwise(zs))


def _flyback(said: _Header) -> int | None:
    value = said.number("hFastZ.numDiscardFlybackFrames")
    return int(value) if value is not None and math.isfinite(value) and value >= 0 else None


def _fast(said: _Header) -> StackLayout:
    """Read a fast stack by the fields that there are, where only ``hFastZ`` says on, or nothing does."""
    counted = [said.count(f"hStackManager.{name}") for name in ("numFramesPerVolume", "actualNumSlices")]
    return _stack_manager(said) if any(counted) and not said.count("hFastZ.numFramesPerVolume") else _fast_z(said)


def _fast_z(said: _Header) -> StackLayout:
    """Read a fast stack of ScanImage 2016 to 2018; frames per volume count those that fly back."""
    n_all, n_flyback = said.count("hFastZ.numFramesPerVolume"), _flyback(said)
    told = said.count("hStackManager.framesPerSlice") or 1
    lists = [zs for name in ("hStackManager.zs", "hFastZ.userZs") if (zs := said.depths(name))]
    if n_flyback is None:
        lists.sort(key=len, reverse=True)  # or frames of depths would pass for fly-back
    for zs in lists:
        per_slice, depths = (told, joined) if (joined := _joined(zs, told)) else (1, zs)
        for frames in dict.fromkeys((per_slice, 1, told)):
            own = depths if frames == per_slice else zs
            left = (n_flyback or 0) if n_all is None else n_all - len(own) * frames
            if left == (n_flyback if n_flyback is not None else max(left, 0)):
                return StackLayout(tuple(own), len(own), frames, left)
    expected = f"depths for {brief(n_all)} frames per volume, {brief(n_flyback)} of them fly-back"
    raise said.error("hFastZ.numFramesPerVolume", expected, f"depths {' or '.join(map(brief, lists)) or 'none'}")


def _slow_by_slices(said: _Header) -> StackLayout:
    """Read a recording of ScanImage 2016 to 2018 without fast z: several slices make it a slow stack."""
    zs = said.depths("hStackManager.zs")
    n_slices = said.count("hStackManager.numSlices") or said.count("hStackManager.slicesPerAcq") or max(len(zs), 1)
    if n_slices == 1 and len(zs) <= 1:
        return StackLayout()
    number, told = said.number("hStackManager.framesPerSlice"), said.count("hStackManager.framesPerSlice")
    if number == math.inf:
        raise _endless(said)
    for depths in (_joined(zs, told), zs) if told else ():
        if told and len(depths) == n_slices:
            return StackLayout(tuple(depths), n_slices, told, is_slow=True)
    expected = (
        f"depths of the {n_slices} slices of a slow stack (numSlices; hFastZ.enable is false), and framesPerSlice"
    )
    raise said.error("hStackManager.zs", expected, f"{brief(zs)}, framesPerSlice {brief(number)}")


def _endless(said: _Header) -> MetadataError:
    expected, found = "a number of frames at each depth of a slow stack", "Inf: frames without end at the first depth"
    remedy = f"{_LEAVE_OUT}. Nothing tells when the focus moved on"
    return said.error("hStackManager.framesPerSlice", expected, found, remedy)


def _untold(said: _Header, n_known: int) -> StackLayout:
    """Read a header in which nothing says on or off."""
    zs = said.depths("hStackManager.zs") or said.depths("hFastZ.userZs")
    # ScanImage gives one slice, and one frame per volume, where the stack is off
    names = ("hStackManager.numFramesPerVolume", "hStackManager.actualNumSlices", "hFastZ.numFramesPerVolume")
    counts = [said.count(name) for name in names]
    if any(n is not None and n > 1 for n in counts) and len(zs) > 1:
        return _fast(said)
    n_slices = said.count("hStackManager.numSlices")
    if len(zs) > 1 or any(n not in (None, 1) for n in (*counts, n_slices)):
        expected = "whether a stack was scanned (hStackManager.enable or hFastZ.enable)"
        raise said.error("hStackManager.enable", expected, f"neither, {len(zs)} depths, numSlices {brief(n_slices)}")
    return StackLayout(n_slices=n_known)
