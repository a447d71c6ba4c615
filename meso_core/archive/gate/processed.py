"""Whether a session was processed and passed, as its manifest and its stored verdicts say.

What belongs here: the part of the gate that a person may override. Whether the archive is safe is decided in
``removal``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import MesoError
from ...qc import QCResult, Verdict, qc_path, stored_results
from ...scanimage import ImagingLayout
from ...scanimage.metadata.bouts import find_meta, read_meta
from ...session import imaging_bouts, plane_name
from ...storage import Manifest, hash_file, load_manifest
from ..report import load_report

MOTION_REGISTERED = "imaging.frames_motionRegistered.bin"
FRAMES_ASSET = "motion_registered_frames"


def processing_doubts(session_path: Path, qc: Sequence[QCResult] | None) -> list[tuple[str, str]]:
    """Say where, and what, stands against the removal of tifs as far as processing and quality are concerned.

    Parameters
    ----------
    session_path
        Session folder; its stored verdicts (``reports/qc``) are read anew.
    qc
        Further verdicts.
    """
    doubts, stored = [], {}
    try:
        doubts += [(f"asset {FRAMES_ASSET}", message) for message in _frames_doubts(session_path)]
        stored = stored_results(session_path)
    except MesoError as error:
        doubts.append(("processing", str(error)))
    if not stored.get(FRAMES_ASSET):
        doubts.append(("quality control", f"there are no verdicts on {FRAMES_ASSET}"))
    results = dict.fromkeys([*(qc or ()), *(result for results in stored.values() for result in results)])
    doubts += [
        (f"check {r.check}" + (f" of {r.fov}" if r.fov else ""), r.message)
        for r in results
        if r.verdict is Verdict.FAIL
    ]
    return doubts


def _frames_doubts(session_path: Path) -> list[str]:
    """Compare the movies that were published, and are there, with what the metadata promise."""
    manifest = load_manifest(session_path, FRAMES_ASSET)
    if manifest is None:
        return [f"there are no motion-registered frames ({MOTION_REGISTERED})"]
    published = {file.path: file for file in manifest.files}
    sizes = _movie_sizes(session_path)
    doubts = [] if sizes else ["no imaging metadata tell how large its movies are"]
    for path, size in sizes.items():
        file, record = session_path / path, published.get(path)
        if record is None:
            doubts.append(f"{path} was not published")
        elif record.size != size:
            doubts.append(f"{path} has {record.size} bytes, not the {size} of all frames")
        elif not file.is_file() or file.stat().st_size != size:
            doubts.append(f"{path} is missing or has another size than was published")
    return doubts + _verdict_doubts(session_path, manifest)


def _verdict_doubts(session_path: Path, manifest: Manifest) -> list[str]:
    """Insist that the verdicts on the movies are those that were published with them."""
    record = next((f for f in manifest.files if f.path == qc_path(FRAMES_ASSET)), None)
    file = session_path / qc_path(FRAMES_ASSET)
    if record is not None and file.is_file() and hash_file(file).sha256 == record.sha256:
        return []
    return [f"{qc_path(FRAMES_ASSET)} was not published with it, is missing, or was changed"]


def _movie_sizes(session_path: Path) -> dict[str, int]:
    """Bytes that each registered movie has: int16, all frames of all bouts; empty where no metadata tell."""
    layout, n_pages = None, []
    for bout in imaging_bouts(session_path):
        path, report = find_meta(bout), load_report(session_path, bout.name)
        meta = None if path is None else read_meta(path)
        if meta is not None and layout is None:
            layout = ImagingLayout.from_meta(meta, str(path))
        counted = 0 if report is None else report.n_frames
        n_pages.append(counted or (0 if meta is None else int(meta["nFrames"])))
    if layout is None:
        return {}
    frames = [sum(layout.n_frames(fov.index, n) for n in n_pages) for fov in layout.fovs]
    return {
        f"suite2p/{plane_name(fov.index)}/{MOTION_REGISTERED}": 2 * n * fov.ny * fov.nx
        for fov, n in zip(layout.fovs, frames, strict=True)
    }


def page_mismatch(bout_folder: Path, n_pages: int) -> str:
    """Say how the pages of a bout's tifs differ from what its metadata promise; empty if they agree or do not tell.

    The rig counts the pages of all channels; a count of frames is understood too.
    """
    try:
        path = find_meta(bout_folder)
        if path is None:
            return ""
        meta = read_meta(path)
        promised, n_channels = int(meta["nFrames"]), ImagingLayout.from_meta(meta, str(path)).n_channels
    except MesoError as error:
        return f"nobody knows whether all its pages are there ({error})"
    if n_pages in (promised, promised * n_channels):
        return ""
    return f"{n_pages} pages are there, while {path.name} promises {promised}: tifs are missing, or it was cut"
