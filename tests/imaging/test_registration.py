"""Our registration against suite2p's own functions, on real and made-up frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meso_core.imaging import Suite2pOverrides, fov_jobs, image_motion_registration, suite2p_options
from meso_core.imaging.registration.frame_loop import batches
from meso_core.imaging.registration.phasecorr import ShiftFinder, peak_to_rest
from meso_core.imaging.registration.reference_image import make_reference, reference_frames

from .conftest import make_meta

OPTINIST = "optinist_mouse2p_frames0000-0199.tif"
THUNDER = "thunder_mouse_64x64_500frames.tif"


def registration_settings(frames: np.ndarray, **overrides: Any) -> dict[str, Any]:
    meta = make_meta(*frames.shape[1:], 1)
    return suite2p_options(meta, 0, overrides=Suite2pOverrides.parse(overrides)).settings_dict()["registration"]


def masks_of(suite2p: Any, reference: np.ndarray, reg: dict[str, Any]) -> tuple[Any, ...]:
    import torch

    return suite2p.registration.register.compute_filters_and_norm(
        reference,
        norm_frames=reg["norm_frames"],
        spatial_smooth=reg["smooth_sigma"],
        spatial_taper=reg["spatial_taper"],
        block_size=reg["block_size"] if reg["nonrigid"] else None,
        subpixel=reg["subpixel"],
        device=torch.device("cpu"),
    )


def moved(frames: np.ndarray, seed: int = 0) -> np.ndarray:
    """Frames with more motion than they came with: a real movie of a still mouse tests little."""
    rng = np.random.default_rng(seed)
    reach = max(2, frames.shape[1] // 25)
    shifts = rng.integers(-reach, reach + 1, (len(frames), 2))
    return np.stack([np.roll(f, tuple(s), (0, 1)) for f, s in zip(frames, shifts, strict=True)])


@pytest.mark.parametrize("name", [OPTINIST, THUNDER])
@pytest.mark.parametrize("nonrigid", [True, False])
def test_shifts_equal_suite2ps_on_real_movies(
    suite2p: Any, real_movie: Callable[[str], np.ndarray], name: str, nonrigid: bool
) -> None:
    import torch

    frames = moved(real_movie(name)[:120])
    reg = registration_settings(frames, nonrigid=nonrigid, maxregshift=0.1)
    masks = masks_of(suite2p, frames[:40].mean(axis=0).astype(np.int16), reg)
    theirs = suite2p.registration.register.compute_shifts(
        masks,
        torch.from_numpy(frames.copy()),
        maxregshift=reg["maxregshift"],
        snr_thresh=reg["snr_thresh"],
        maxregshiftNR=reg["maxregshiftNR"],
    )
    ours = ShiftFinder(masks, reg, frames.shape[1:])(frames)
    assert np.ptp(theirs[0].numpy()) > 4
    for mine, their, tolerance in zip(ours, theirs[:6], (0, 0, 1e-5, 0.01, 0.01, 1e-5), strict=False):
        if their is None:
            assert mine is None
        else:
            np.testing.assert_allclose(mine.numpy(), their.numpy(), atol=tolerance, rtol=0)


def test_registered_pixels_equal_suite2ps(suite2p: Any, real_movie: Callable[[str], np.ndarray]) -> None:
    import torch

    from meso_core.imaging.registration.phasecorr import roll_frames
    from meso_core.imaging.registration.warp import Warper

    frames = real_movie(OPTINIST)[:12]
    blocks = suite2p.registration.nonrigid.make_blocks(*frames.shape[1:], (64, 64))
    rng = torch.Generator().manual_seed(1)
    y, x = torch.randint(-5, 6, (2, len(frames)), generator=rng)
    y1, x1 = torch.randint(-50, 51, (2, len(frames), len(blocks[0])), generator=rng).float() / 10
    theirs = suite2p.registration.register.shift_frames(
        torch.from_numpy(frames.copy()), y, x, y1, x1, blocks, device=torch.device("cpu")
    )
    ours = Warper(blocks, frames.shape[1:])(roll_frames(frames, y.tolist(), x.tolist()), y1, x1)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", [OPTINIST, THUNDER])
def test_reference_is_suite2ps_of_one_full_batch_and_not_of_small_ones(
    suite2p: Any, real_movie: Callable[[str], np.ndarray], name: str
) -> None:
    import torch

    frames = moved(real_movie(name), seed=2)
    reg = registration_settings(frames)
    sample = reference_frames(frames, 100)
    compute, cpu = suite2p.registration.register.compute_reference, torch.device("cpu")
    full = compute(sample.copy(), settings={**reg, "batch_size": 100}, device=cpu)
    small = compute(sample.copy(), settings={**reg, "batch_size": 25}, device=cpu)
    ours = make_reference(sample.copy(), reg, cpu)
    np.testing.assert_array_equal(ours, full)
    assert not np.array_equal(small, full), "suite2p's batches no longer spoil its reference: ours may be simplified"


def test_reference_survives_frames_without_any_light(suite2p: Any, real_movie: Callable[[str], np.ndarray]) -> None:
    import torch

    frames = real_movie(THUNDER)[:120].copy()
    reg = registration_settings(frames)
    plain = make_reference(frames[20:].copy(), reg, torch.device("cpu"))
    frames[:20] = 7
    dark = make_reference(frames.copy(), reg, torch.device("cpu"))
    assert np.corrcoef(plain.ravel(), dark.ravel())[0, 1] > 0.98


@given(st.integers(2, 5000), st.integers(1, 600))
def test_batches_cover_the_movie_once_and_none_is_a_lone_frame(n_frames: int, size: int) -> None:
    cut = batches(n_frames, size)
    assert [a for a, _ in cut] + [n_frames] == [0, *(b for _, b in cut)]
    assert all(b - a >= 2 for a, b in cut)
    assert all(b - a <= max(size, 3) for a, b in cut)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_peak_to_rest_equals_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(3, 2, 17, 17)).astype(np.float32) + 1
    ratio = peak_to_rest(maps)
    for index in np.ndindex(3, 2):
        inner = maps[index][3:-3, 3:-3]
        y, x = np.unravel_index(inner.argmax(), inner.shape)
        rest = maps[index].copy()
        rest[y : y + 6, x : x + 6] = 0
        assert ratio[index] == pytest.approx(inner.max() / max(1e-10, rest.max()), rel=1e-6)


def test_denoising_in_bounded_memory_gives_suite2ps_numbers(suite2p: Any) -> None:
    from suite2p.detection.denoise import pca_denoise

    from meso_core.imaging.detection.denoise import denoise_blocks

    movie = np.random.default_rng(0).normal(100, 10, (60, 100, 70)).astype(np.float32)
    theirs = pca_denoise(movie.copy(), block_size=(64, 64), n_comps_frac=0.5)
    np.testing.assert_array_equal(denoise_blocks(movie.copy(), (64, 64)), theirs)


def test_metrics_agree_with_suite2ps(suite2p: Any, real_movie: Callable[[str], np.ndarray]) -> None:
    from suite2p.registration.metrics import get_pc_metrics

    from meso_core.imaging.registration.metrics import registration_metrics

    frames = np.tile(real_movie(THUNDER), (2, 1, 1))[:800]
    reg = registration_settings(frames)
    time_pcs, ends, shifts = registration_metrics(frames, [2, 62], [3, 61], reg)
    theirs = get_pc_metrics(frames, [2, 62], [3, 61], settings={**reg, "reg_metrics_rs": 0})
    assert time_pcs.shape == theirs[0].shape
    assert ends.shape == theirs[1].shape
    assert shifts.shape == theirs[2].shape
    alike = np.abs([np.corrcoef(a, b)[0, 1] for a, b in zip(time_pcs.T[:5], theirs[0].T[:5], strict=True)])
    assert (alike > 0.99).all()
    np.testing.assert_allclose(shifts[:3, 0], theirs[2][:3, 0], atol=0.5)


def test_bad_frames_may_be_in_the_reference_as_they_may_be_in_suite2ps(
    suite2p: Any, real_movie: Callable[[str], np.ndarray], tmp_path: Path
) -> None:
    """The experimenter's bad frames act on cropping and detection; suite2p 1.1 makes its reference of all frames."""
    import torch

    frames = moved(real_movie(THUNDER)[:80])
    meta, bad = make_meta(*frames.shape[1:], 1), np.zeros(80, bool)
    bad[10:20] = True
    frames[bad] = np.roll(frames[bad], 3, axis=2)  # far from the others: the crop sees the difference
    references, marked, reg = [], [], {}
    for name, rating in (("rated", bad), ("unrated", None)):
        folder = tmp_path / name / "plane0"
        folder.mkdir(parents=True)
        frames.tofile(folder / "data_raw.bin")
        (job,) = fov_jobs(
            folder.parent,
            meta,
            bad_frames=rating,
            overrides=Suite2pOverrides.parse({"do_regmetrics": False, "nimg_init": 40}),
        )
        reg = job.options.settings_dict()["registration"]
        image_motion_registration(job)
        outputs = np.load(folder / "reg_outputs.npy", allow_pickle=True).item()
        references.append(outputs["refImg"])
        marked.append(outputs["badframes"])
    theirs = suite2p.registration.register.registration_wrapper(
        frames.copy(), badframes=bad, settings={**reg, "batch_size": 80}, device=torch.device("cpu")
    )
    np.testing.assert_array_equal(references[0], theirs["refImg"])
    np.testing.assert_array_equal(*references)
    assert marked[0][bad].all()
    assert not marked[1][bad].all()
