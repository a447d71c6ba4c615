"""Which verdicts fire on which fault, and how severe it must be: simulated sessions with one thing wrong at a time.

    python -m benchmarks.qc_calibration [SESSIONS]     # good ones; by default 200; prints the tables of docs/qc.md

What is simulated is one field of 160 × 160 px for 17 min at 6 Hz. What is judged, by the functions of the product:

- motion: 96 frames, registered by meso's own search for rigid shifts (``shifts_within_reach``); ranges and jumps are of
  the true shifts;
- light, crispness, drift: frames that are rendered when a measure asks for them, moved back by their true rigid shifts;
- cells: traces that true masks read from the true light, with its photon noise, and the ring around each mask;
- clock: the pulses of the DAQ against the microscope's own times;
- place: the field in the phantom brain.

suite2p's detection does not run, so ROI counts, the classifier and the principal components are not calibrated here.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from meso_core.errors import MesoError, MesoWarning
from meso_core.imaging.fovs.threads import one_thread
from meso_core.imaging.options.settings_table import default_settings
from meso_core.qc import QCResult, Verdict, judge
from meso_core.report.judge.fov import FovTraces, judge_cells, judge_clock, judge_motion, judge_movie
from meso_core.report.measure.motion import FovMotion
from meso_core.report.measure.quality import good_sample
from meso_core.simulate.config import RoiConfig, SimulationConfig
from meso_core.simulate.plan import make_plan
from meso_core.simulate.tissue.motion import brain_motion
from meso_core.simulate.tissue.movie import FovMovie, make_movie
from meso_core.simulate.tissue.scene import MARGIN
from meso_core.timing.checks import BoutTiming, check_bout

SIDE, UM, RATE_HZ, N_FRAMES = 160, 1.367, 6.0, 6_000
FOV = "FOV_00"


@dataclass(frozen=True)
class Session:
    """One simulated session, and what is wrong with it."""

    seed: int
    photons: float
    motion_um: float
    axial_drift_um: float
    bleaching_per_hour: float
    cells_per_mm2: float
    #: Values above are cut off; int16 by itself.
    wall: int = 32_767
    indicator: str = "6s"
    tau_s: float = 1.5
    #: Light of each cell that its neuropil mask holds as well, in parts of its own.
    cell_in_neuropil: float = 0.0
    #: Pulses that the DAQ missed in the middle.
    n_dropped: int = 0
    #: How far the window is from where the metadata say, mm to the side.
    off_mm: float = 0.0

    def config(self) -> SimulationConfig:
        size = SIDE * UM / 150
        return SimulationConfig(
            (RoiConfig((0.0, 0.0), (size, size), (SIDE, SIDE)),),
            frames_per_bout=(N_FRAMES,),
            frame_rate_hz=RATE_HZ,
            seed=self.seed,
            photons=self.photons,
            motion_um=self.motion_um,
            axial_drift_um=self.axial_drift_um,
            bleaching_per_hour=self.bleaching_per_hour,
            cells_per_mm2=self.cells_per_mm2,
            indicator=self.indicator,
            write_movie=False,
        )


def good(seed: int) -> Session:
    """A good session; they differ as sessions do."""
    rng = np.random.default_rng([seed, 77])
    low, high = np.array([[10, 1.0, 0.0, 0.05, 700], [30, 2.0, 5.0, 0.2, 1100]])
    return Session(seed, *(float(value) for value in rng.uniform(low, high)))


#: Fault → (unit of its severity, field of the session, severities), and the checks that may fire on it.
FAULTS: Mapping[str, tuple[str, str, tuple[Any, ...]]] = {
    "motion beyond reach": ("µm, standard deviation", "motion_um", (4.0, 6.0, 8.0, 12.0)),
    "saturation": ("counts at which values are cut off", "wall", (12_000, 6_000, 4_000, 2_500)),
    "dark": ("photons per pixel at mean brightness", "photons", (4.0, 2.0, 1.0, 0.5)),
    "drift in depth": ("µm over the session", "axial_drift_um", (8.0, 12.0, 18.0, 25.0)),
    "bleaching": ("of the light per hour, as a rate", "bleaching_per_hour", (1.0, 1.6, 2.4, 4.0)),
    "dropped pulses": ("pulses", "n_dropped", (1, 3, 10)),
    "bad neuropil": ("of a cell's light in its neuropil", "cell_in_neuropil", (0.25, 0.5, 1.0, 2.0)),
    "wrong tau": ("s, where 1.5 is right", "tau_s", (1.0, 0.7, 0.4)),
    "misaligned field": ("mm to the side", "off_mm", (1.0, 2.0, 3.0, 4.0)),
}
FIRE: Mapping[str, frozenset[str]] = {
    "motion beyond reach": frozenset({"shifts_within_reach", "rigid_range", "rigid_jump"}),
    "saturation": frozenset({"saturated_share"}),
    "dark": frozenset({"photons_per_pixel", "noise_level"}),
    "drift in depth": frozenset({"ends_alike"}),
    "bleaching": frozenset({"light_lost"}),
    "dropped pulses": frozenset({"pulse_intervals_match_scanimage", "interval_gaps", "frames_match_pulses"}),
    "bad neuropil": frozenset({"neuropil_correlation"}),
    "wrong tau": frozenset({"decay_mismatch"}),
    "misaligned field": frozenset({"fov_inside_brain", "fov_near_window", "fov_size", "fov_number_of_areas"}),
}
#: Fields on which the movie and the traces do not depend.
_NOT_OF_LIGHT = {"tau_s": 1.5, "cell_in_neuropil": 0.0, "n_dropped": 0, "off_mm": 0.0}


def verdicts(session: Session) -> tuple[QCResult, ...]:
    """Judge a session."""
    light = replace(session, **_NOT_OF_LIGHT)
    return (
        *_of_movie(light),
        *_of_cells(replace(session, n_dropped=0, off_mm=0.0, wall=32_767)),
        *_of_clock(session.seed, session.n_dropped),
        *_of_place(session.off_mm),
    )


def fired(session: Session) -> frozenset[str]:
    """Names of the checks that do not pass."""
    with one_thread():
        return frozenset(one.check for one in verdicts(session) if one.verdict is not Verdict.PASS)


class _Registered:
    """A movie whose frames are rendered when asked for, and moved back by their true rigid shifts."""

    def __init__(self, movie: FovMovie, wall: int) -> None:
        self._movie, self._wall = movie, wall
        self._shifts = np.rint(movie.motion.shifts).astype(int)
        self.shape = (movie.n_frames, *movie.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def raw(self, frame: int) -> np.ndarray:
        return np.minimum(self._movie.render(frame, frame + 1)[0][0], self._wall).astype(np.int16)

    def __getitem__(self, frames: Any) -> np.ndarray:
        if isinstance(frames, slice):
            return np.stack([self[k] for k in range(*frames.indices(len(self)))])
        return np.roll(self.raw(int(frames)), tuple(-self._shifts[int(frames)]), axis=(0, 1))


@lru_cache(maxsize=2)
def _movie(config: SimulationConfig) -> FovMovie:
    plan = make_plan(config)
    folder = Path(tempfile.mkdtemp(prefix="qc-calibration-", dir=_scratch()))
    return make_movie(plan, 0, brain_motion(config, plan.frame_times), folder)


@lru_cache
def _scratch() -> str:
    _KEPT.append(tempfile.TemporaryDirectory(prefix="qc-calibration-"))
    return _KEPT[0].name


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


@lru_cache(maxsize=512)
def _of_movie(session: Session) -> tuple[QCResult, ...]:
    movie = _movie(session.config())
    bad, shifts = movie.fault > 0, movie.motion.shifts.astype(np.float64)
    y, x = np.rint(shifts).T
    step = np.hypot(*np.diff(shifts, axis=0).T)
    nothing = np.zeros(0)
    motion = FovMotion(y, x, None, step, nothing, bad, nothing, nothing, None, nothing)
    registered = _Registered(movie, session.wall)
    share = _at_limit(registered, bad)
    return (
        judge("shifts_within_reach", share, f"{share:.1%}", "calibration", FOV),
        *judge_motion(FOV, motion, UM),
        *judge_movie(FOV, registered, motion),  # type: ignore[arg-type]  # it gives frames
    )


def _at_limit(movie: _Registered, bad: np.ndarray) -> float:
    """Share of a sample of frames that meso's search shifts as far as it looks."""
    import torch

    from meso_core.imaging.registration.frame_loop import _masks
    from meso_core.imaging.registration.phasecorr import ShiftFinder, largest_shift
    from meso_core.imaging.registration.reference_image import make_reference

    reg = {**default_settings()["registration"], "maxregshift": 0.05, "nonrigid": False}
    frames = np.stack([movie.raw(int(frame)) for frame in good_sample(bad)])
    with torch.inference_mode():
        device = torch.device("cpu")
        find = ShiftFinder(_masks(make_reference(frames.copy(), reg, device), reg, device), reg, movie.shape[1:])
        y, x, *_ = find(frames)
    reach = largest_shift(reg["maxregshift"], movie.shape[1:])
    return float((np.maximum(np.abs(y.numpy()), np.abs(x.numpy())) >= reach).mean())


@lru_cache(maxsize=512)
def _of_cells(session: Session) -> tuple[QCResult, ...]:
    movie = _movie(replace(session, tau_s=1.5, cell_in_neuropil=0.0).config())
    f, around = _traces(movie, session)
    n = f.shape[1]
    traces = FovTraces(f, around, np.zeros_like(f), np.ones(n, bool), movie.fault > 0, RATE_HZ, session.tau_s)
    return judge_cells(FOV, traces)


def _traces(movie: FovMovie, session: Session) -> tuple[np.ndarray, np.ndarray]:
    """Fluorescence of cells in focus and of the rings around them, (n_frames, n_cells) f4, counts."""
    scene, rng = movie.scene, np.random.default_rng([session.seed, 78])
    width = scene.base.shape[1]
    inside = (scene.centres > 12).all(axis=1) & (scene.centres < SIDE - 12).all(axis=1)
    cells = np.flatnonzero(inside & (np.abs(scene.depth) < 7) & (movie.rise > 0.5))
    footprints = movie.footprints.tocsc()
    yy, xx = np.mgrid[: scene.base.shape[0], :width]
    of_any = np.asarray(footprints.sum(axis=1)).reshape(scene.base.shape) > 0
    masks = []
    for cell in cells:
        own = footprints[:, [cell]].toarray().ravel()
        away = np.hypot(*(grid - MARGIN - centre for grid, centre in zip((yy, xx), scene.centres[cell], strict=True)))
        ring = ((away > 7) & (away < 14) & ~of_any).ravel()
        masks.append((own / own.sum(), ring / ring.sum()))
    weights = np.stack([mask for pair in masks for mask in pair])
    rest, fields = weights @ scene.base.ravel(), weights @ scene.neuropil.reshape(len(scene.neuropil), -1).T
    of_cells = (footprints.T @ weights.T).T
    light = (rest + movie.neuropil @ fields.T) * movie.light[:, None]
    light += movie.traces.rows(0, movie.n_frames) @ of_cells.T
    light[:, 1::2] += session.cell_in_neuropil * (light[:, ::2] - np.median(light[:, ::2], axis=0))
    # photons of independent pixels: the variance of a weighted mean
    variance = np.maximum(light, 0.01) * (weights**2).sum(axis=1)
    noisy = light + np.sqrt(variance) * rng.standard_normal(light.shape)
    counts = (movie.config.gain * noisy).astype(np.float32)
    return counts[:, ::2], counts[:, 1::2]


@lru_cache(maxsize=512)
def _of_clock(seed: int, n_dropped: int) -> tuple[QCResult, ...]:
    """Judge pulses of which some in the middle are missing, and as many at the end belong to no frame."""
    plan = make_plan(replace(good(0).config(), seed=seed))
    daq, period = plan.bouts[0].daq, plan.geometry.frame_period
    middle, n = len(daq) // 2, len(daq)
    more = daq[-1] + period * np.arange(1, n_dropped + 1)
    pulses = np.delete(np.append(daq, more), slice(middle, middle + n_dropped))
    bout: Any = SimpleNamespace(name="bout", frame_index=np.arange(n), frame_times=plan.bouts[0].scanimage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MesoWarning)
        of_pulses = check_bout(BoutTiming("bout", pulses[0], pulses[-1], len(pulses), n), pulses, bout)
    return (*of_pulses, *judge_clock(FOV, pulses[:n], (0, n), n))


@lru_cache(maxsize=32)
def _of_place(off_mm: float) -> tuple[QCResult, ...]:
    """Judge the place of a field whose window is off to the side, in the phantom."""
    from meso_core.location import LocationSettings, check_locations, load_atlas, locate_fovs
    from meso_core.scanimage import load_session_metadata
    from meso_core.simulate import simulate_session

    folder = Path(tempfile.mkdtemp(dir=_scratch()))
    ml, ap = good(0).config().center_mm
    config = replace(good(0).config(), center_mm=(ml + off_mm, ap), frames_per_bout=(60,))
    metadata = load_session_metadata(simulate_session(folder / "Subjects", config).session_path)
    settings = LocationSettings(atlas="phantom", resolution_um=50, cache_folder=Path(_scratch()) / "cache")
    try:
        found = locate_fovs(metadata.imaging, load_atlas(settings), settings=settings)
    except MesoError as error:  # the window is not over the brain: refused by name
        return (QCResult("fov_inside_brain", Verdict.FAIL, 1.0, None, str(error), "calibration", FOV),)
    return tuple(one for one in check_locations(found.locations) if one.check != "atlas_is_anatomy")


def with_fault(seed: int, fault: str, severity: Any) -> Session:
    """A session that is good but for one thing."""
    return replace(good(seed), **{FAULTS[fault][1]: severity})


@dataclass(frozen=True)
class Row:
    """How often which checks fired on sessions with one fault of one severity."""

    fault: str
    severity: Any
    n: int
    #: Sessions in which a check of the fault fired, and those in which another one did.
    n_told: int
    n_other: int
    checks: Mapping[str, int]


def sweep(seeds: Iterable[int], faults: Iterable[str] = tuple(FAULTS)) -> Iterator[Row]:
    """Judge sessions with each fault at each severity, the mildest first."""
    seeds = tuple(seeds)
    for fault in faults:
        for severity in FAULTS[fault][2]:
            found = [fired(with_fault(seed, fault, severity)) for seed in seeds]
            told, other = (sum(bool(one & FIRE[fault]) for one in found), sum(bool(one - FIRE[fault]) for one in found))
            yield Row(fault, severity, len(found), told, other, Counter(name for one in found for name in one))


def table(rows: Iterable[Row]) -> str:
    """Markdown of the rows of a sweep."""
    head = ("fault", "severity", "detected", "other verdicts fired", "verdicts that fired")
    lines = [f"| {' | '.join(head)} |", "| --- | --- | ---: | ---: | --- |"]
    for row in rows:
        checks = ", ".join(f"`{name}` {n}" for name, n in sorted(row.checks.items(), key=lambda item: -item[1])) or "–"
        severity = f"{row.severity:g} {FAULTS[row.fault][0]}"
        lines.append(f"| {row.fault} | {severity} | {row.n_told} of {row.n} | {row.n_other} of {row.n} | {checks} |")
    return "\n".join(lines)


def false_alarms(seeds: Iterable[int]) -> tuple[int, Counter[str]]:
    """Judge good sessions; returns how many there were, and which checks fired on how many."""
    found = [fired(good(seed)) for seed in seeds]
    return len(found), Counter(name for one in found for name in one)


def main() -> None:
    n_good = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    began = time.monotonic()
    n, alarms = false_alarms(range(n_good))
    told = ", ".join(f"{name} {k}" for name, k in alarms.items()) or "none"
    print(f"Of {n} good sessions, verdicts fired on: {told}.\n", flush=True)
    print(table(sweep(range(1000, 1000 + max(n_good // 20, 2)))))
    print(f"\n{time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
