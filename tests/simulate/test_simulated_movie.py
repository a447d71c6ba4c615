"""The simulated movie follows the physics it claims, and looks like real ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from meso_core.session import raw_tifs
from meso_core.simulate import load_truth, preset, simulate_session
from meso_core.simulate.tissue.activity import KINETICS, activity, relative_fluorescence
from meso_core.simulate.tissue.motion import N_MODES, deformation_modes
from meso_core.simulate.tissue.optics import detect, displace
from meso_core.simulate.tissue.scene import MARGIN, smooth_noise

REAL_MOVIES = ("optinist_mouse2p_frames0000-0199.tif", "thunder_mouse_64x64_500frames.tif")


@pytest.fixture(scope="module")
def one_field(tmp_path_factory):
    """One field of 160 × 160, 300 frames, and its truth."""
    config = replace(preset("demo"), rois=preset("demo").rois[:1], frames_per_bout=(300,))
    made = simulate_session(tmp_path_factory.mktemp("field") / "S", config)
    tifs = raw_tifs(made.session_path / "raw_imaging_data_00")
    return np.concatenate([tifffile.imread(p) for p in tifs]), load_truth(made.truth_path).fovs[0], config


@pytest.mark.parametrize("photons", [0.5, 3.0, 30.0])
def test_noise_has_the_mean_and_variance_of_photons_and_amplifier(photons: float) -> None:
    image = np.full((600, 600), photons, np.float32)
    counts = detect(np.random.default_rng(0), image, 40, 120, 18).astype(float)
    assert counts.mean() == pytest.approx(120 + 40 * photons, rel=0.005)
    assert counts.var() == pytest.approx(40**2 * photons + 18**2, rel=0.01)


def test_dark_frames_hold_offset_and_amplifier_noise_alone() -> None:
    counts = detect(np.random.default_rng(0), np.zeros((400, 400), np.float32), 40, 120, 18).astype(float)
    assert counts.mean() == pytest.approx(120, abs=0.3)
    assert counts.std() == pytest.approx(18, rel=0.03)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.3, -2.7), (-3.4, 5.9)])
def test_scene_is_displaced_as_the_truth_says(shift: tuple[float, float]) -> None:
    from scipy.ndimage import map_coordinates

    rng = np.random.default_rng(1)
    ny, nx = 64, 96
    scene = smooth_noise(rng, (ny + 2 * MARGIN, nx + 2 * MARGIN), (2.0, 2.0))
    modes = deformation_modes(ny, nx, MARGIN)
    weights = (0.4 * rng.standard_normal((2, N_MODES))).astype("f4")
    moved = displace(scene, np.array(shift, "f4"), weights, modes)
    dy, dx = np.tensordot(weights, modes[:, :, MARGIN:-MARGIN], axes=1) + np.reshape(shift, (2, 1, 1))
    y, x = np.mgrid[MARGIN : MARGIN + ny, MARGIN : MARGIN + nx]
    exact = map_coordinates(scene, [y - dy, x - dx], order=5)
    # unit variance, slope 0.35 per pixel: 0.01 is a thirtieth of a pixel
    assert np.sqrt(np.mean((moved - exact) ** 2)) < 0.01


def test_rolling_a_frame_back_by_its_shift_undoes_it(one_field) -> None:
    """suite2p's convention: ``np.roll(frame, (-yoff, -xoff))`` is registered."""
    movie, truth, _ = one_field
    good = np.flatnonzero(~truth.bad_frames)
    still = movie[good].mean(axis=0)[12:-12, 12:-12]
    far = good[np.argsort(np.abs(truth.shifts[good]).max(axis=1))[-20:]]

    def likeness(sign: int) -> float:
        rolled = [np.roll(movie[k], np.rint(sign * truth.shifts[k]).astype(int), (0, 1)) for k in far]
        return float(np.mean([np.corrcoef(r[12:-12, 12:-12].ravel(), still.ravel())[0, 1] for r in rolled]))

    assert likeness(-1) > likeness(0) > likeness(1)


@pytest.mark.parametrize(("indicator", "peak_s", "half_s", "size"), [
    ("6s", 0.179, 0.550, 0.23), ("6m", 0.080, 0.270, 0.13), ("6f", 0.045, 0.142, 0.19),
])  # fmt: skip
def test_response_to_a_spike_is_the_published_one(indicator: str, peak_s: float, half_s: float, size: float) -> None:
    k = KINETICS[indicator]
    t = np.arange(0, 4, 1e-4)
    shape = np.exp(-t / k.decay_s) - np.exp(-t / k.rise_s)
    response = relative_fluorescence(k, shape / shape.max())
    top = int(response.argmax())
    assert t[top] == pytest.approx(peak_s, rel=0.1)
    assert response[top] == pytest.approx(size, rel=1e-6)
    half = t[top + int(np.argmax(response[top:] < size / 2))] - t[top]
    assert half == pytest.approx(half_s, rel=0.25)


def test_indicators_respond_more_than_in_proportion_to_bursts() -> None:
    for k in KINETICS.values():
        one, ten = relative_fluorescence(k, np.array([1.0, 10.0]))
        assert ten > 12 * one


def test_fluorescence_follows_its_spikes() -> None:
    config = preset("demo")
    blocks = list(activity(config, 0, 600, 40, 1 / 6))
    spikes = np.concatenate([b.spikes for b in blocks])
    dff = np.concatenate([b.dff for b in blocks])
    assert spikes.shape == dff.shape == (600, 40)
    assert not dff[: int(spikes.any(axis=1).argmax())].any()  # nothing before the first spike
    # deconvolving a linear response by its decay gives spikes back in their frames
    k = KINETICS["6s"]
    step = dff[1:] - np.exp(-1 / 6 / k.decay_s) * dff[:-1]
    busy = spikes[1:].sum(axis=0) > 10
    likeness = [np.corrcoef(step[:, c], spikes[1:, c])[0, 1] for c in np.flatnonzero(busy)]
    assert np.median(likeness) > 0.8


def test_a_bright_cells_pixels_follow_its_true_trace(one_field) -> None:
    movie, truth, _ = one_field
    good = ~truth.bad_frames
    inside = ((truth.centres > 12) & (truth.centres < 148)).all(axis=1)
    cell = int(np.argmax(np.where(inside, truth.snr, 0)))
    y, x, weight = truth.mask(cell)
    trace = np.average(movie[:, y, x], axis=1, weights=weight)
    assert np.corrcoef(trace[good], truth.traces[good, cell])[0, 1] > 0.85


def test_bad_frames_are_dark_or_torn(one_field) -> None:
    movie, truth, config = one_field
    assert truth.bad_frames.sum() == round(config.bad_frame_share * 300)
    means = movie.mean(axis=(1, 2))
    dark = means < (means.max() + config.offset) / 3
    assert dark.any()
    assert truth.bad_frames[dark].all()


def test_light_fades_at_the_given_rate(tmp_path: Path) -> None:
    config = replace(preset("tiny"), rois=preset("tiny").rois[:1], frames_per_bout=(240,), bleaching_per_hour=30.0,
                     bad_frame_share=0, axial_drift_um=0, cells_per_mm2=0)  # fmt: skip
    made = simulate_session(tmp_path / "S", config)
    truth = load_truth(made.truth_path)
    movie = np.concatenate([tifffile.imread(p) for p in raw_tifs(made.session_path / "raw_imaging_data_00")])
    light = movie[:, :96].mean(axis=(1, 2)) - config.offset
    hours = truth.fovs[0].frame_times / 3600
    slope = np.polyfit(hours, np.log(light), 1)[0]
    assert slope == pytest.approx(-30.0, rel=0.1)


def _photon_transfer(movie: np.ndarray) -> dict[str, float]:
    """Frame-to-frame noise over brightness, in eight bins of brightness."""
    movie = movie.astype(float)
    mean = np.median(movie, axis=0).ravel()
    # the median of squared differences is robust to activity: 2 × 0.455 of the variance
    variance = (np.median(np.diff(movie, axis=0) ** 2, axis=0) / (2 * 0.4549)).ravel()
    group = np.digitize(mean, np.quantile(mean, np.linspace(0, 1, 9))[1:-1])
    m, v = (np.array([np.median(a[group == i]) for i in range(8)]) for a in (mean, variance))
    slope, at_zero = np.polyfit(m, v, 1)
    return {
        "straightness": float(np.corrcoef(m, v)[0, 1]),
        "photons": float(np.median((m + at_zero / slope) ** 2 / v)),
        "contrast": float(movie.mean(axis=0).std() / (movie.mean() + at_zero / slope)),
    }


def _correlation_length(movie: np.ndarray) -> dict[str, float]:
    """Autocorrelation of the mean image a few pixels away."""
    image = movie.mean(axis=0) - movie.mean()
    power = np.abs(np.fft.fft2(image / image.std())) ** 2 / image.size
    away = np.fft.ifft2(power).real
    return {f"correlation at {k} px": float((away[k, 0] + away[0, k]) / 2) for k in (1, 3, 6)}


def _peaks(movie: np.ndarray) -> dict[str, float]:
    """Peak signal-to-noise of patches of 5 × 5 pixels."""
    ny, nx = (n // 5 * 5 for n in movie.shape[1:])
    patches = movie[:, :ny, :nx].astype(float).reshape(len(movie), ny // 5, 5, nx // 5, 5).mean(axis=(2, 4))
    noise = np.sqrt(np.median(np.diff(patches, axis=0) ** 2, axis=0) / (2 * 0.4549))
    peak = (np.percentile(patches, 99.5, axis=0) - np.median(patches, axis=0)) / noise
    signal = patches.var(axis=0) / noise**2
    return {
        "median peak": float(np.median(peak)),
        "high peak": float(np.quantile(peak, 0.97)),
        "signal to noise": float(np.median(signal)),
    }


def _motion(movie: np.ndarray) -> dict[str, float]:
    """Displacement by phase correlation with the mean, px (largest axis)."""
    ny, nx = movie.shape[1:]
    taper = np.outer(np.hanning(ny), np.hanning(nx))
    f2 = np.fft.fftfreq(ny)[:, None] ** 2 + np.fft.fftfreq(nx)[None, :] ** 2
    blur = np.exp(-2 * np.pi**2 * 1.2**2 * f2)
    still = np.fft.fft2((movie.mean(axis=0) - movie.mean()) * taper)
    shifts = []
    for frame in movie:
        cross = np.fft.fft2((frame - frame.mean()) * taper) * np.conj(still)
        peak = np.fft.ifft2(cross / (np.abs(cross) + 1e-9) * blur).real
        y, x = np.unravel_index(peak.argmax(), peak.shape)
        shifts.append(((y + ny // 2) % ny - ny // 2, (x + nx // 2) % nx - nx // 2))
    deviation = np.abs(np.array(shifts) - np.median(shifts, axis=0))
    return {"motion": float(np.sqrt(np.mean(np.minimum(deviation, 10) ** 2, axis=0)).max())}


def _statistics(movie: np.ndarray) -> dict[str, float]:
    return {**_photon_transfer(movie), **_correlation_length(movie), **_peaks(movie), **_motion(movie)}


def test_noise_contrast_size_activity_and_motion_lie_between_those_of_real_movies(one_field, real_data: Path) -> None:
    """Each number within the range of the two real movies, widened by a quarter of it on each side."""
    movie, truth, _ = one_field
    ours = _statistics(movie[~truth.bad_frames])
    real = [_statistics(tifffile.imread(real_data / "movies" / name)) for name in REAL_MOVIES]
    for name, value in ours.items():
        low, high = sorted(r[name] for r in real)
        slack = 0.25 * (high - low) + 0.02
        assert low - slack <= value <= high + slack, (name, value, low, high)


def test_footprints_read_in_the_movie_what_the_truth_says(tmp_path: Path) -> None:
    """Without motion a footprint reads its cell and its background; the rest is noise of the size that snr tells."""
    config = replace(
        preset("demo"), rois=preset("demo").rois[:1], frames_per_bout=(400,), motion_um=0, nonrigid_um=0,
        bad_frame_share=0,
    )  # fmt: skip
    made = simulate_session(tmp_path / "S", config)
    truth = load_truth(made.truth_path).fovs[0]
    tifs = raw_tifs(made.session_path / "raw_imaging_data_00")
    movie = np.concatenate([tifffile.imread(p) for p in tifs])[:, truth.row_start : truth.row_stop]
    snr, photon_snr = [], []
    for cell in np.flatnonzero(truth.snr > 1):
        y, x, weight = (np.asarray(v, float) for v in truth.mask(int(cell)))
        read = movie[:, y.astype(int), x.astype(int)] @ weight / (config.gain * (weight @ weight))
        own, other = (np.asarray(t[:, cell], float) for t in (truth.traces, truth.background))
        rise = own.max() - np.median(own)
        snr.append(rise / (read - own).std() / truth.snr[cell])
        photon_snr.append(rise / (read - own - other).std() / truth.photon_snr[cell])
    assert len(snr) > 20
    for ratio in (snr, photon_snr):  # light that rises with the activity brings a little more noise
        assert np.median(ratio) == pytest.approx(1, abs=0.03)
        assert np.abs(np.log(ratio)).max() < 0.2
