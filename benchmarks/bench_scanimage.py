"""Reading ScanImage tifs: headers against tifffile, the split into FOV binaries against suite2p and a plain copy."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from meso_core.scanimage import ImagingLayout, LocalTif, ScanImageTif, bin_per_plane, open_bout
from meso_core.scanimage.frames.sources import BoutSource
from meso_core.scanimage.metadata.extract import meta_from_header, raw_scanimage_meta
from meso_core.simulate import preset
from meso_core.simulate.files.header import descriptions, frame_data, roi_groups_text, start_of_bout
from meso_core.simulate.files.tif import ScanImageTifWriter
from meso_core.simulate.tissue.geometry import session_geometry

from . import Row

_N_PAGES = 10_000
_ROUNDS = 3


def rows() -> list[Row]:
    """Measure."""
    with tempfile.TemporaryDirectory(prefix="meso-bench-") as folder:
        return [_headers(Path(folder)), *_split(Path(folder))]


def _best(*jobs: Callable[[], object]) -> list[float]:
    """Shortest time of each job, s; the jobs take turns, and nothing waits to be written when one begins."""
    best = [float("inf")] * len(jobs)
    for _ in range(_ROUNDS):
        for i, job in enumerate(jobs):
            os.sync()
            start = time.perf_counter()
            job()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def write_tif(path: Path, n_pages: int, shape: tuple[int, int], first: int = 0) -> None:
    """A tif of noise, as ScanImage lays it out."""
    config = preset("bench")
    text, groups = frame_data(config, session_geometry(config)), roi_groups_text(config)
    noise = np.random.default_rng(first).integers(-100, 3000, (20, *shape), dtype=np.int16)
    with ScanImageTifWriter(path, text, groups, shape, n_pages, 5000.0) as tif:
        for start in range(0, n_pages, 20):
            n = min(20, n_pages - start)
            times = (first + start + np.arange(n)) / 5
            tif.write(noise[:n], descriptions(first + start, times, start_of_bout(config, 0), 1, False))


def _headers(folder: Path) -> Row:
    import tifffile

    path = folder / "pages_00001.tif"
    write_tif(path, _N_PAGES, (64, 64))

    def peer() -> None:
        with tifffile.TiffFile(path) as tif:
            found = [page.description for page in tif.pages]
        assert len(found) == _N_PAGES

    def ours() -> None:
        assert ScanImageTif(path).n_pages == _N_PAGES

    theirs_s, ours_s = _best(peer, ours)
    path.unlink()
    what = "headers and frame times of a tif; peer: loop over tifffile's pages"
    return Row(what, theirs_s, ours_s, "s", theirs_s / ours_s, "≥ 3", f"{_N_PAGES} pages, file in memory")


def _split(folder: Path) -> list[Row]:
    config = preset("bench")
    geometry = session_geometry(config)
    shape = geometry.page_height, geometry.page_width
    paths = [folder / f"movie_0000{i + 1}.tif" for i in range(2)]
    for i, path in enumerate(paths):
        write_tif(path, 300, shape, 300 * i)
    meta = meta_from_header(raw_scanimage_meta(open_bout(paths)[0]), 2.6, -2, 600)
    out = folder / "out"

    def fresh() -> Path:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        return out

    def copy() -> None:
        target = fresh()
        for path in paths:
            with (target / path.name).open("wb") as new, path.open("rb") as old:
                shutil.copyfileobj(old, new, 1 << 24)
                os.fsync(new.fileno())

    def ours() -> None:
        bin_per_plane([BoutSource("raw_imaging_data_00", tuple(map(LocalTif, paths)))], meta, fresh())

    def peer() -> None:
        suite2p_split(paths, ImagingLayout.from_meta(meta), fresh())
        os.sync()

    theirs_s, ours_s, copy_s = _best(peer, ours, copy)
    on = f"{sum(p.stat().st_size for p in paths) / 1e9:.2f} GB, {len(geometry.fovs)} FOVs of 512 × 512, file in memory"
    return [
        Row("tifs to FOV binaries; peer: suite2p's converter; both on disk", theirs_s, ours_s, "s",
            theirs_s / ours_s, "≥ 3", on),
        Row("tifs to FOV binaries; peer: a copy of the tifs; both on disk", copy_s, ours_s, "s", copy_s / ours_s,
            "≥ 0.5", on),
    ]  # fmt: skip


def suite2p_split(paths: list[Path], layout: ImagingLayout, out: Path, **changes: Any) -> list[dict[str, Any]]:
    """Let suite2p convert tifs whose slices all have the same FOVs; return its ``db`` of each FOV, in their order."""
    import logging

    from suite2p import default_db, default_settings, io

    logging.disable(logging.WARNING)
    first_slice = [f for f in layout.fovs if f.slice_index == 0]
    db = {
        **default_db(),
        "file_list": [str(p) for p in paths],
        "first_files": np.array([i == 0 or p.parent != paths[i - 1].parent for i, p in enumerate(paths)]),
        "save_path0": str(out),
        "fast_disk": str(out),
        "nplanes": layout.frames_per_volume,
        "nchannels": layout.n_channels,
        "functional_chan": layout.functional_channel + 1,
        "lines": [list(range(f.row_start, f.row_stop)) for f in first_slice],
        "dx": [0] * len(first_slice),
        "dy": [0] * len(first_slice),
        "keep_movie_raw": True,
        **changes,
    }
    dbs = io.init_dbs(db)
    names = ["raw_file", "raw_file_chan2"][: layout.n_channels]
    with contextlib.ExitStack() as stack:
        files = [[stack.enter_context(Path(d[name]).open("wb")) for d in dbs] for name in names]
        io.tiff_to_binary(dbs, default_settings(), files[0], files[1] if len(files) > 1 else None)
    logging.disable(logging.NOTSET)
    return list(dbs)
