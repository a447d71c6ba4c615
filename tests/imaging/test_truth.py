"""Registration and ROIs against what is true of a simulated session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .conftest import Movies
from .scores import SNR_EDGES, residual_motion, roi_scores, table, trace_correlations


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
    for i, job in enumerate(fov_jobs(movies.folder, movies.meta)):
        run_plane(movies.folder / f"plane{i}" / "data_raw.bin", folder / f"plane{i}", job.options.settings_dict(), 160)
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
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}  # sums of several round otherwise
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=one_thread)
    assert done.returncode == 0, done.stderr[-2000:]


def test_no_snr_bin_is_worse_than_plain_suite2p(
    processed: tuple[Path, Any], plain_suite2p: Path, movies: Movies
) -> None:
    for i, truth in enumerate(movies.truth.fovs):
        ours = roi_scores(processed[0] / f"plane{i}", truth)
        plain = roi_scores(plain_suite2p / f"plane{i}", truth)
        print(f"FOV {i}\n{table(ours, plain)}")  # pytest -rP shows it
        for name, mine, theirs in zip(SNR_EDGES, ours.recall(), plain.recall(), strict=False):
            assert np.isnan(mine) or mine >= theirs - 1e-9, f"FOV {i}, cells of SNR {name} and more"
        assert ours.precision() >= plain.precision() - 0.01
        assert (
            residual_motion(processed[0] / f"plane{i}", truth)
            <= residual_motion(plain_suite2p / f"plane{i}", truth) + 0.005
        )


def test_cells_of_good_signal_are_found(processed: tuple[Path, Any], movies: Movies) -> None:
    found = []
    for i, truth in enumerate(movies.truth.fovs):
        scores = roi_scores(processed[0] / f"plane{i}", truth)
        found += list(scores.roi[scores.snr >= 5] >= 0)
    assert len(found) >= 8
    assert np.mean(found) >= 0.85


def test_traces_of_good_signal_follow_the_truth(processed: tuple[Path, Any], movies: Movies) -> None:
    correlations = [
        trace_correlations(processed[0] / f"plane{i}", truth, roi_scores(processed[0] / f"plane{i}", truth))
        for i, truth in enumerate(movies.truth.fovs)
    ]
    assert np.median(np.concatenate(correlations)) >= 0.9


def test_a_mask_of_suite2p_reads_nearly_as_well_as_the_true_one(processed: tuple[Path, Any], movies: Movies) -> None:
    """Photons limit what any mask can tell of a faint cell: the true masks, on the same movie, are the measure."""
    ours, possible = [], []
    for i, truth in enumerate(movies.truth.fovs):
        plane = processed[0] / f"plane{i}"
        scores = roi_scores(plane, truth)
        frames = np.fromfile(plane / "imaging.frames_motionRegistered.bin", np.int16).reshape(-1, 160, 160)
        good = ~np.asarray(np.load(plane / "reg_outputs.npy", allow_pickle=True).item()["badframes"], bool)
        traces, around = np.load(plane / "F.npy"), np.load(plane / "Fneu.npy")
        for roi, cell in enumerate(scores.cell):
            if cell >= 0 and truth.trace_snr[cell] >= 5:
                y, x, weight = truth.mask(int(cell))
                true = np.asarray(truth.traces)[good, cell]
                best = (frames[:, y, x] @ weight) / weight.sum()
                ours.append(np.corrcoef((traces[roi] - 0.7 * around[roi])[good], true)[0, 1])
                possible.append(np.corrcoef((best - 0.7 * around[roi])[good], true)[0, 1])
    assert len(ours) >= 40
    assert np.median(ours) >= 0.85 * np.median(possible)
