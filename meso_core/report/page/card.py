"""The card: what the session is, in one look, and whether it is good.

What belongs here: the first rows of the page. What does not: the sections below.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ...qc import Verdict
from ...session import ImagingMetadata, SessionMetadata
from ..inputs import ReportInputs
from .fields import FovFound
from .parts import Row, Section
from .render import number

_SYSTEM = re.compile(r"^SI\.imagingSystem = '([^'\n]+)'", re.MULTILINE)
_VERSION = re.compile(r"^SI\.VERSION_(?:MAJOR|MINOR|UPDATE) = '?(\w+)'?\s*$", re.MULTILINE)
#: Where ScanImage keeps the settings of the machine; labs often call the file after it, as in ``Meso1.cfg``.
_CONFIGURATION = re.compile(
    r"^SI\.hConfigurationSaver\.cfgFilename = '(?:[^'\n]*[\\/])?([^'\n\\/]+?)(?:\.cfg)?'\s*$", re.MULTILINE
)
_POWERS = re.compile(r"^SI\.hBeams\.powers = \[?([\d. ]+)\]?\s*$", re.MULTILINE)


def card(inputs: ReportInputs, found: Sequence[FovFound]) -> Section:
    """Make the card of a session."""
    rows = [
        Row("subject", inputs.session.subject),
        Row("date", f"{inputs.session.date}, number {inputs.session.number}"),
    ]
    if inputs.session.lab:
        rows.append(Row("lab", inputs.session.lab))
    if inputs.metadata is not None:
        rows += _recording(inputs.metadata, found)
    rows += _results(found)
    doubtful = [v for v in inputs.all_verdicts() if v.verdict != Verdict.PASS]
    ordered = sorted(doubtful, key=lambda v: -v.verdict)
    return Section("card", "Session", rows=rows, verdicts=ordered, missing=_not_there(inputs))


def _recording(metadata: SessionMetadata, found: Sequence[FovFound]) -> list[Row]:
    imaging = metadata.imaging
    rows = []
    if imaging.acquisition_start is not None:
        rows.append(Row("recorded", f"{imaging.acquisition_start:%Y-%m-%d %H:%M}", "clock of the microscope"))
    rows += [
        Row("rig", *_rig(imaging)),
        Row("microscope", *_microscope(imaging)),
        Row("fields of view", str(len(imaging.fovs)), _depths(imaging)),
        Row("imaging bouts", _bouts(metadata), f"{number(sum(b.n_frames for b in metadata.bouts))} frames on file"),
        Row("duration", _duration(metadata), "with the light on"),
        Row("rate", f"{imaging.fov_rate_hz:.2f} Hz per field", f"volumes {imaging.volume_rate_hz:.2f} Hz"),
        Row("channels", ", ".join(map(str, imaging.channels_saved)), _channels(imaging)),
        Row("laser power", *_power(imaging)),
    ]
    bad = [one.motion for one in found if one.motion is not None]
    if bad:
        share = [motion.is_bad.mean() for motion in bad]
        rows.append(Row("bad frames", f"{100 * np.mean(share):.1f} %", f"at most {100 * max(share):.1f} % of a field"))
    return rows


def _depths(imaging: ImagingMetadata) -> str:
    depths = sorted({z for fov in imaging.fovs for z in fov.depths_um or ()})
    return "at " + ", ".join(f"{z:g}" for z in depths) + " µm" if depths else "depth not told"


def _bouts(metadata: SessionMetadata) -> str:
    return f"{len(metadata.bouts)}" if len(metadata.bouts) < 2 else f"{len(metadata.bouts)} of {_each(metadata)} frames"


def _each(metadata: SessionMetadata) -> str:
    return " + ".join(number(bout.n_frames) for bout in metadata.bouts)


def _duration(metadata: SessionMetadata) -> str:
    seconds = sum(float(b.frame_times[-1] - b.frame_times[0]) for b in metadata.bouts if b.n_frames)
    return f"{seconds / 60:.1f} min" if seconds >= 120 else f"{seconds:.0f} s"


def _channels(imaging: ImagingMetadata) -> str:
    if imaging.channels_are_depths:
        return "each is a depth"
    return f"activity in {imaging.channels_used[0]}"


def _rig(imaging: ImagingMetadata) -> tuple[str, str]:
    if rig := rig_of(_header(imaging)):
        return rig, "as its ScanImage configuration is called"
    return "not recorded", "the header names no configuration"


def rig_of(header: str) -> str:
    """Tell the name of the rig from ScanImage's header; empty where it does not tell.

    No field is meant for it, but the file of the machine's settings is often called after the machine.
    """
    match = _CONFIGURATION.search(header)
    return match[1] if match else ""


def _microscope(imaging: ImagingMetadata) -> tuple[str, str]:
    """Name of the scanner in ScanImage, and the version that ran it."""
    header = _header(imaging)
    name, version = _SYSTEM.search(header), ".".join(_VERSION.findall(header))
    return name[1] if name else "–", f"ScanImage {version}" if version else "by ScanImage"


def _header(imaging: ImagingMetadata) -> str:
    return str(imaging.to_dict().get("rawScanImageMeta", {}).get("Software", ""))


def _power(imaging: ImagingMetadata) -> tuple[str, str]:
    match = _POWERS.search(_header(imaging))
    used = [float(p) for p in match[1].split()] if match else []
    if not used:
        return "–", "not in the header"
    return " + ".join(f"{p:g} %" for p in used if p > 0) or "0 %", "of each laser's range, by the header"


def _results(found: Sequence[FovFound]) -> list[Row]:
    rois = [one.rois for one in found if one.rois is not None]
    if not rois:
        return []
    cells = sum(one.n_cells for one in rois)
    noise = np.concatenate([one.activity.noise_percent[one.is_cell] for one in rois])
    known = noise[np.isfinite(noise)]
    rows = [Row("cells", number(cells), f"of {number(sum(one.n_rois for one in rois))} ROIs")]
    if known.size:
        rows.append(Row("noise", f"{np.median(known):.2g} %/√Hz", "median of cells"))
    return rows


def _not_there(inputs: ReportInputs) -> list[str]:
    missing = [f"{one.name}: {one.why_not}." for one in inputs.results if one.why_not]
    missing += [f"{one.name} of {fov}: {why}" for one in inputs.results for fov, why in sorted(one.missing.items())]
    return missing + [f"{one.name} is out of date: {'; '.join(one.stale)}." for one in inputs.results if one.stale]
