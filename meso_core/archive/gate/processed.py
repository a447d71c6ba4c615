"""Whether a session was processed and passed, as its manifest and its stored verdicts say.

What belongs here: the part of the gate that a person may override. ``removal`` decides whether the archive is safe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import MesoError
from ...qc import DEFAULT_LIMITS, Limits, QCResult, Verdict, qc_path, stored_results
from ...scanimage import ImagingLayout, LocalTif
from ...scanimage.frames.on_file import frames_on_file
from ...scanimage.frames.sources import fits_promise
from ...scanimage.metadata.bouts import find_meta, read_imaging_metadata
from ...session import ImagingMetadata, fov_index, imaging_bouts, plane_name, raw_tifs
from ...storage import Manifest, hash_file, load_manifest
from ..report import load_report

MOTION_REGISTERED = "imaging.frames_motionRegistered.bin"


def processing_doubts(
    session_path: Path,
    frames_asset: str,
    qc: Sequence[QCResult],
    *,
    opens_tifs: bool = True,
    limits: Limits = DEFAULT_LIMITS,
) -> list[tuple[str, str]]:
    """Say where, and why, processing and quality control do not allow the removal of tifs.

    Parameters
    ----------
    session_path
        Session folder; its stored verdicts (``reports/qc``) are read again.
    frames_asset
        Name under which the motion-registered frames and their verdicts were published.
    qc
        Further verdicts.
    opens_tifs
        Whether the tifs can be opened in that folder; if not, the pages of a bout are those of its archive's record.
    limits
        Those with which stored verdicts are judged.
    """
    doubts, stored = [], {}
    try:
        doubts += [
            (f"asset {frames_asset}", message) for message in _frames_doubts(session_path, frames_asset, opens_tifs)
        ]
        stored = stored_results(session_path, limits)
    except MesoError as error:
        doubts.append(("processing", str(error)))
    if not stored.get(frames_asset):
        doubts.append(("quality control", f"there are no verdicts on {frames_asset}"))
    results = dict.fromkeys([*qc, *(result for results in stored.values() for result in results)])
    doubts += [
        (f"check {r.check}" + (f" of {r.fov}" if r.fov else ""), r.message)
        for r in results
        if r.verdict is Verdict.FAIL
    ]
    return doubts


def _frames_doubts(session_path: Path, asset: str, opens_tifs: bool) -> list[str]:
    """Compare the movies that are there with their manifest and with what the metadata promise."""
    manifest = load_manifest(session_path, asset)
    if manifest is None:
        return [f"there are no motion-registered frames ({MOTION_REGISTERED})"]
    published = {file.path: file for file in manifest.files}
    sizes = _movie_sizes(session_path, opens_tifs)
    out = {f"suite2p/{plane_name(fov)}/{MOTION_REGISTERED}" for fov in map(fov_index, manifest.basis.left_out)}
    doubts = [] if sizes else ["no imaging metadata say how large its movies are"]
    # where channels are depths, the rig's metadata do not list the fields of each channel
    sizes |= {path: f.size for path, f in published.items() if path.endswith(MOTION_REGISTERED) and path not in sizes}
    for path, size in ((path, size) for path, size in sizes.items() if path not in out):
        file, record = session_path / path, published.get(path)
        if record is None:
            doubts.append(f"{path} was not published")
        elif record.size != size:
            doubts.append(f"{path} has {record.size} bytes, not the {size} of all frames")
        elif not file.is_file() or file.stat().st_size != size:
            doubts.append(f"{path} is missing or has another size than was published")
    return doubts + _verdict_doubts(session_path, manifest)


def _verdict_doubts(session_path: Path, manifest: Manifest) -> list[str]:
    """Check that the verdicts on the movies are those that were published with them."""
    path = qc_path(manifest.asset)
    record = next((f for f in manifest.files if f.path == path), None)
    file = session_path / path
    same_size = record is not None and file.is_file() and file.stat().st_size == record.size
    if record is not None and same_size and hash_file(file).sha256 == record.sha256:
        return []
    return [f"{path} was not published with it, is missing, or was changed"]


def _movie_sizes(session_path: Path, opens_tifs: bool) -> dict[str, int]:
    """Bytes of each registered movie: int16, all frames of all bouts; empty where there are no metadata."""
    metas: dict[Path, ImagingMetadata | None] = {}
    for bout in imaging_bouts(session_path):
        path = find_meta(bout)
        metas[bout] = None if path is None else read_imaging_metadata(path)
    known = [meta for meta in metas.values() if meta is not None]
    if not known:
        return {}
    layout = ImagingLayout.from_meta(known[0])
    frames = np.sum([_frames_by_fov(bout, meta, layout, opens_tifs) for bout, meta in metas.items()], axis=0)
    return {
        f"suite2p/{plane_name(fov.index)}/{MOTION_REGISTERED}": 2 * int(n) * fov.ny * fov.nx
        for fov, n in zip(layout.fovs, frames, strict=True)
    }


def _frames_by_fov(
    bout: Path, meta: ImagingMetadata | None, layout: ImagingLayout, opens_tifs: bool
) -> NDArray[np.int64]:
    """Count the frames of a bout for each FOV: by its tifs where they are there, else by its number of pages."""
    report, tifs = load_report(bout.parent, bout.name), raw_tifs(bout)
    is_whole = report is None or {tif.name for tif in tifs}.issuperset(member.name for member in report.members)
    if meta is not None and tifs and is_whole and opens_tifs:
        sources = [LocalTif(tif) for tif in tifs]
        found = frames_on_file(bout.name, sources, meta.channels_saved, meta.stack.frames_averaged)
        slices = layout.slices_of(found.index - found.starts(meta.stack.is_slow))
        return np.array([np.count_nonzero(slices == fov.slice_index) for fov in layout.fovs])
    n_pages = (0 if report is None else report.n_pages) or (0 if meta is None else meta.n_pages)
    return np.array([layout.n_frames(fov.index, n_pages) for fov in layout.fovs])


def page_mismatch(bout_folder: Path, n_pages: int, find_metadata: Callable[[Path], Path | None] = find_meta) -> str:
    """Say how the pages of a bout differ from what its metadata promise; empty if they agree or there are none."""
    try:
        path = find_metadata(bout_folder)
        if path is None:
            return ""
        meta = read_imaging_metadata(path)
    except MesoError as error:
        return f"it is not known whether all its pages are there ({error})"
    if fits_promise(n_pages, meta.n_pages, meta.n_channels):
        return ""
    return f"{n_pages} pages are there, but {path.name} promises {meta.n_pages}: tifs are missing, or it was cut"
