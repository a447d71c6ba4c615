"""Verdicts on a simulated session that suite2p does not see: its light, its cells, its clock, its place.

- movie: 96 frames, registered by meso's own search for rigid shifts (``shifts_within_reach``); ranges and jumps are of
  the true shifts; for light, crispness and drift, frames are rendered when a measure asks for them, and moved back by
  their true rigid shifts;
- cells: traces that true masks read from the true light, with its photon noise, and the ring around each mask;
- clock: the pulses of the DAQ against the microscope's own times;
- place: the field in the phantom brain.
"""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from meso_core.errors import MesoError, MesoWarning
from meso_core.imaging.options.settings_table import default_settings
from meso_core.qc import QCResult, Verdict, judge
from meso_core.report.judge.cells import FovTraces, judge_cells
from meso_core.report.judge.clock import judge_clock
from meso_core.report.judge.movie import judge_motion, judge_movie
from meso_core.report.measure.motion import FovMotion
from meso_core.report.measure.quality import good_sample
from meso_core.scanimage.reference_field import FieldStack
from meso_core.simulate.config import SimulationConfig
from meso_core.simulate.plan import make_plan
from meso_core.simulate.tissue.motion import brain_motion
from meso_core.simulate.tissue.movie import FovMovie, make_movie
from meso_core.simulate.tissue.scene import MARGIN, at_depth
from meso_core.timing.checks import BoutTiming, check_bout

from .record import Part
from .sessions import FOV, RATE_HZ, SIDE, UM, Session, good
from .whole import judge_whole

#: Depths of the reference stack, µm below the field.
_DEPTHS_UM = np.arange(-30.0, 31.0, 5.0)


class _Registered:
    """A movie whose frames are rendered when asked for, and moved back by their true rigid shifts."""

    def __init__(self, movie: FovMovie, wall: int) -> None:
        self._movie, self._wall = movie, wall
        self._shifts = np.rint(movie.motion.shifts).astype(int)
        self.shape = (movie.n_frames, *movie.shape)
        #: Frames that were rendered: measures ask for the same ones.
        self._raw: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self.shape[0]

    def raw(self, frame: int) -> np.ndarray:
        if frame not in self._raw:
            self._raw[frame] = np.minimum(self._movie.render(frame, frame + 1)[0][0], self._wall).astype(np.int16)
        return self._raw[frame]

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


def _of_movie(session: Session) -> tuple[QCResult, ...]:
    movie = _movie(session.config())
    bad, shifts = movie.fault > 0, movie.motion.shifts.astype(np.float64)
    y, x = np.rint(shifts).T
    step = np.hypot(*np.diff(shifts, axis=0).T)
    nothing = np.zeros(0)
    motion = FovMotion(y, x, None, step, nothing, bad, nothing, nothing, None, nothing)
    registered, stack = _Registered(movie, session.wall), reference_stack(movie)
    share = _at_limit(registered, bad)
    return (
        judge("shifts_within_reach", share, f"{share:.1%}", "calibration", FOV),
        *judge_motion(FOV, motion, UM),
        *judge_movie(FOV, registered, motion, stack=stack),  # type: ignore[arg-type]  # it gives frames
    )


def reference_stack(movie: FovMovie) -> FieldStack:
    """Stack of the field as an experimenter takes it before: each depth the mean of twenty frames, at rest."""
    config, rng = movie.config, np.random.default_rng([movie.config.seed, 79])
    photons = np.stack([at_depth(movie.scene, um) for um in _DEPTHS_UM])
    noise = np.sqrt((photons + (config.read_noise / config.gain) ** 2) / 20)
    photons += noise * rng.standard_normal(photons.shape, dtype=np.float32)
    counts = (config.offset + config.gain * photons).astype(np.float32)
    return FieldStack(counts, _DEPTHS_UM, MARGIN)


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


def _of_cells(session: Session) -> tuple[QCResult, ...]:
    movie = _movie(session.config())
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
    # of independent pixels, photons and the detector's own noise: the variance of a weighted mean
    of_detector = (movie.config.read_noise / movie.config.gain) ** 2
    variance = (np.maximum(light, 0.01) + of_detector) * (weights**2).sum(axis=1)
    noisy = light + np.sqrt(variance) * rng.standard_normal(light.shape)
    counts = (movie.config.gain * noisy).astype(np.float32)
    return counts[:, ::2], counts[:, 1::2]


def _of_clock(session: Session) -> tuple[QCResult, ...]:
    """Judge pulses of which some in the middle are missing, and as many at the end belong to no frame."""
    plan = make_plan(session.config())
    daq, period = plan.bouts[0].daq, plan.geometry.frame_period
    middle, n = len(daq) // 2, len(daq)
    more = daq[-1] + period * np.arange(1, session.n_dropped + 1)
    pulses = np.delete(np.append(daq, more), slice(middle, middle + session.n_dropped))
    bout: Any = SimpleNamespace(name="bout", frame_index=np.arange(n), frame_times=plan.bouts[0].scanimage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MesoWarning)
        of_pulses = check_bout(BoutTiming("bout", pulses[0], pulses[-1], len(pulses), n), pulses, bout)
    return (*of_pulses, *judge_clock(FOV, pulses[:n], (0, n), n))


def _of_place(session: Session) -> tuple[QCResult, ...]:
    """Judge the place of a field whose window is off to the side, in the phantom."""
    from meso_core.location import LocationSettings, check_locations, load_atlas, locate_fovs
    from meso_core.scanimage import load_session_metadata
    from meso_core.simulate import simulate_session

    folder = Path(tempfile.mkdtemp(dir=_scratch()))
    ml, ap = session.config().center_mm
    config = replace(session.config(), center_mm=(ml + session.off_mm, ap), frames_per_bout=(60,))
    metadata = load_session_metadata(simulate_session(folder / "Subjects", config).session_path)
    settings = LocationSettings(atlas="phantom", resolution_um=50, cache_folder=Path(_scratch()) / "cache")
    try:
        found = locate_fovs(metadata.imaging, load_atlas(settings), settings=settings)
    except MesoError as error:  # the window is not over the brain: refused by name
        return (QCResult("fov_inside_brain", Verdict.FAIL, 1.0, None, str(error), "calibration", FOV),)
    return tuple(one for one in check_locations(found.locations) if one.check != "atlas_is_anatomy")


def _of_light(session: Session) -> Session:
    return replace(session, tau_s=1.5, cell_in_neuropil=0.0, n_dropped=0, off_mm=0.0)


_TISSUE = ("simulate/tissue", "simulate/plan.py", "simulate/config.py")
_MOVIE = ("report/judge/movie.py", *(f"report/measure/{name}.py" for name in ("axial", "photons", "quality")))
_CELLS = ("report/judge/cells.py", "report/measure/activity.py", "report/measure/quality.py")
#: Parts of a long session.
PARTS = (
    Part("movie", _of_movie, _of_light, (*_TISSUE, *_MOVIE, "imaging/registration")),
    Part("cells", _of_cells, lambda one: replace(one, n_dropped=0, off_mm=0.0, wall=32_767), (*_TISSUE, *_CELLS)),
    Part("clock", _of_clock, lambda one: replace(good(0), seed=one.seed, n_dropped=one.n_dropped),
         ("simulate/plan.py", "timing", "report/measure/clock.py", "report/judge/clock.py")),
    Part("place", _of_place, lambda one: replace(good(0), off_mm=one.off_mm), ("location",)),
)  # fmt: skip
#: Of a short one.
WHOLE = Part("whole", judge_whole, _of_light, (*_TISSUE, *_MOVIE, *_CELLS, "imaging"))
