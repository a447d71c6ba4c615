"""Registration and ROIs against what is true of a simulated session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .conftest import Movies, make_movies, process
from .scores import ROI_SNR_EDGES, SNR_EDGES, RoiScores, residual_motion, roi_scores, table, trace_scores


@pytest.fixture(scope="module")
def movies(tmp_path_factory: pytest.TempPathFactory) -> Movies:
    """Three FOVs of 256 × 256 px: some 80 cells of peak signal-to-noise 5 and more, 300 in all."""
    return make_movies(tmp_path_factory.mktemp("truth"), n_fovs=3, side=256)


@pytest.fixture(scope="module")
def processed(movies: Movies, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The FOVs, registered and detected by workers."""
    return process(movies, tmp_path_factory.mktemp("processed") / "suite2p")


def test_what_registration_leaves_of_the_motion_is_below_a_third_of_a_pixel(
    processed: tuple[Path, Any], movies: Movies
) -> None:
    for i, truth in enumerate(movies.truth.fovs):
        before = np.sqrt((np.asarray(truth.shifts) ** 2).mean())
        assert before > 0.5
        assert residual_motion(processed[0] / f"plane{i}", truth) <= 0.3


def test_frames_that_the_rig_spoilt_are_left_out(processed: tuple[Path, Any], movies: Movies) -> None:
    for result, truth in zip(processed[1], movies.truth.fovs, strict=True):
        spoilt = np.asarray(truth.bad_frames)
        assert result.registration.bad_frames[spoilt].all()
        assert result.registration.bad_frames[~spoilt].mean() < 0.02


@pytest.fixture(scope="module")
def plain_suite2p(movies: Movies, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same frames by suite2p alone: ``run_plane`` with the same settings, reference in one batch."""
    from meso_core.imaging import fov_jobs

    folder = tmp_path_factory.mktemp("plain")
    np.save(folder / "bad_frames.npy", np.flatnonzero(movies.bad_frames))
    jobs = fov_jobs(movies.folder, movies.meta)
    raw = [job.folder / "data_raw.bin" for job in jobs]
    planes = [folder / job.folder.name for job in jobs]
    settings = [job.options.settings_dict() for job in jobs]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run_plane, raw, planes, settings, [256] * len(jobs)))
    return folder


def run_plane(raw: Path, plane: Path, settings: dict[str, Any], side: int) -> None:
    """Register and detect with suite2p alone, in a process of its own."""
    script = (
        "import json, sys, numpy as np; from pathlib import Path; from suite2p import default_db, run_plane\n"
        "raw, plane, settings, side = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4])\n"
        "plane.mkdir(); (plane / 'data.bin').write_bytes(raw.read_bytes())\n"
        "db = {**default_db(), 'nframes': raw.stat().st_size // (2 * side**2), 'Ly': side, 'Lx': side,\n"
        "      'save_path': str(plane), 'save_path0': str(plane.parent), 'data_path': [str(plane.parent)],\n"
        "      'reg_file': str(plane / 'data.bin'), 'fast_disk': str(plane)}\n"
        "np.save(plane / 'settings.npy', settings)\n"
        "run_plane(db, settings)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, str(raw), str(plane), json.dumps(settings), str(side)]
    one_thread = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}  # sums of several round otherwise
    keeps_memory = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 28)}
    env = {**os.environ, **one_thread, **keeps_memory}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.nightly  # suite2p alone takes two minutes; its own ROIs on real movies are compared in tests/peers
def test_recall_and_precision_are_in_no_snr_bin_worse_than_plain_suite2ps(
    processed: tuple[Path, Any], plain_suite2p: Path, movies: Movies
) -> None:
    ours, plain = (
        RoiScores.joined([roi_scores(folder / f"plane{i}", truth) for i, truth in enumerate(movies.truth.fovs)])
        for folder in (processed[0], plain_suite2p)
    )
    print(table(ours, plain))  # pytest -rP shows it
    assert len(ours.snr) > 200
    for name, mine, theirs in (
        *zip(SNR_EDGES, ours.recall(), plain.recall(), strict=False),
        *zip(ROI_SNR_EDGES, ours.precision(), plain.precision(), strict=False),
    ):
        assert np.isnan(theirs) or mine >= theirs - 1e-9, f"SNR {name} and more"
    for i, truth in enumerate(movies.truth.fovs):
        mine, theirs = (residual_motion(f / f"plane{i}", truth) for f in (processed[0], plain_suite2p))
        assert mine <= theirs + 0.005


def test_cells_of_good_signal_are_found(processed: tuple[Path, Any], movies: Movies) -> None:
    found = []
    for i, truth in enumerate(movies.truth.fovs):
        scores = roi_scores(processed[0] / f"plane{i}", truth)
        found += list(scores.roi[scores.snr >= 5] >= 0)
    assert len(found) >= 50
    assert np.mean(found) >= 0.85


def test_traces_of_good_signal_follow_the_truth(processed: tuple[Path, Any], movies: Movies) -> None:
    scores = [trace_scores(processed[0] / f"plane{i}", truth, least_snr=5) for i, truth in enumerate(movies.truth.fovs)]
    corrected, raw = (np.concatenate([getattr(s, name) for s in scores]) for name in ("corrected", "raw"))
    print(f"median correlation: F - 0.7 Fneu with the cell {np.median(corrected):.3f}, "
          f"F with the footprint's fluorescence {np.median(raw):.3f}")  # fmt: skip
    assert np.median(corrected) >= 0.9
    assert np.median(raw) >= 0.9


def test_a_mask_of_suite2p_reads_nearly_as_well_as_the_true_one(processed: tuple[Path, Any], movies: Movies) -> None:
    """Photons limit what any mask can tell of a faint cell: the true masks, on the same movie, are the measure."""
    scores = [trace_scores(processed[0] / f"plane{i}", truth, least_snr=2) for i, truth in enumerate(movies.truth.fovs)]
    ours, possible = (np.concatenate([getattr(s, name) for s in scores]) for name in ("corrected", "true_mask"))
    assert len(ours) >= 80
    assert np.median(ours) >= 0.9 * np.median(possible)
