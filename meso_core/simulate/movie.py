"""The movie of one FOV, rendered block by block.

What belongs here: putting scene, activity, motion and detection together for given frames. What does not: pages,
files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .activity import relative_fluorescence, spike_counts
from .config import SimulationConfig
from .geometry import pixel_um
from .motion import FovMotion, brain_motion, deformation_modes, fov_motion
from .optics import detect, displace
from .plan import GALVOS_FAULT, PMT_OFF, SessionPlan
from .scene import MARGIN, N_NEUROPIL, Scene, focus, make_scene

#: Frames that share one stream of random numbers; so the bytes do not depend on how files are cut.
BLOCK = 16


@dataclass(frozen=True, slots=True)
class FovMovie:
    """All that is needed to render any frame of a FOV, and what is true of it."""

    config: SimulationConfig
    index: int
    scene: Scene
    motion: FovMotion
    #: Smooth modes of deformation, f4 (n_modes, ny, nx).
    modes: NDArray[np.float32]
    #: Spikes per frame, u1 (n_frames, n_cells).
    spikes: NDArray[np.uint8]
    #: Brightness of each cell relative to rest, in focus and unbleached, f4 (n_frames, n_cells).
    traces: NDArray[np.float32]
    #: Neuropil fields over time, f4 (n_frames, N_NEUROPIL).
    neuropil: NDArray[np.float32]
    #: Share of light left after bleaching, f4 (n_frames,).
    light: NDArray[np.float32]
    #: 0 fine, 1 PMT off, 2 galvos fault, u1 (n_frames,).
    fault: NDArray[np.uint8]
    #: Footprints as a sparse matrix (pixels of the scene, cells).
    footprints: Any

    @property
    def n_frames(self) -> int:
        """Frames over all bouts."""
        return len(self.light)

    def render(self, start: int, stop: int) -> list[NDArray[np.int16]]:
        """Frames ``start`` to ``stop`` of each saved channel, i2 (n, ny, nx)."""
        out = [np.empty((stop - start, *self.modes.shape[1:]), np.int16) for _ in self.config.channels]
        for first in range(start - start % BLOCK, stop, BLOCK):
            streams = np.random.default_rng([self.config.seed, 501, self.index, first]).spawn(BLOCK)
            for frame in range(max(first, start), min(first + BLOCK, stop)):
                for channel, image in enumerate(self._photons(frame, streams[frame - first])):
                    out[channel][frame - start] = detect(
                        streams[frame - first], image, self.config.gain, self.config.offset, self.config.read_noise
                    )
        return out

    def _photons(self, frame: int, rng: np.random.Generator) -> list[NDArray[np.float32]]:
        """Noiseless images of the channels."""
        s, shape = self.scene, self.scene.base.shape
        if self.fault[frame] == PMT_OFF:
            return [np.zeros(self.modes.shape[1:], np.float32)] * len(self.config.channels)
        field = np.tensordot(self.motion.weights[frame], self.modes, axes=1)
        dy, dx = field + self.motion.shifts[frame][:, None, None]
        if self.fault[frame] == GALVOS_FAULT:  # the galvo loses its way: lines come from elsewhere
            dy = dy + np.float32(12) * np.sin(np.linspace(0, 9, dy.shape[0], dtype="f4"))[:, None]
        images = []
        for channel in self.config.channels:
            if channel in (1, 2):
                image = s.base + np.tensordot(self.neuropil[frame], s.neuropil, axes=1)
                image = image + (self.footprints @ self.traces[frame]).reshape(shape)
            else:  # a structural label: some of the cells, constant
                still = (np.arange(self.traces.shape[1]) % 3 == 0).astype("f4") * focus(
                    s.depth, self.motion.axial[frame : frame + 1]
                )[0]
                image = np.float32(0.4) * s.base + (self.footprints @ (2 * still)).reshape(shape)
            images.append(displace(self.light[frame] * image, dy, dx))
        return images


def make_movie(plan: SessionPlan, index: int) -> FovMovie:
    """Prepare the movie of one FOV."""
    from scipy.sparse import csr_matrix

    config, geometry = plan.config, plan.geometry
    place = geometry.fovs[index]
    times, fault = plan.fov_series(index)
    um = pixel_um(config, config.rois[place.roi])
    scene = make_scene(config, index, place)
    brain = brain_motion(config, plan.frame_times)
    brain = np.column_stack([np.interp(times, plan.frame_times, column) for column in brain.T])
    motion = fov_motion(config, index, brain, um)
    n_cells = len(scene.centres)
    dt = geometry.frame_period * geometry.frames_per_volume
    spikes = spike_counts(config, index, len(times), n_cells, dt)
    traces = (1 + relative_fluorescence(config, index, spikes, dt)) * focus(scene.depth, motion.axial)
    steps = np.random.default_rng([config.seed, 502, index]).standard_normal((len(times), N_NEUROPIL))
    light = np.exp(-config.bleaching_per_hour * (times - times[0]) / 3600)
    footprints = csr_matrix((scene.photons, (scene.pixel, scene.cell)), shape=(scene.base.size, n_cells))
    return FovMovie(
        config=config,
        index=index,
        scene=scene,
        motion=motion,
        modes=deformation_modes(place.ny, place.nx),
        spikes=spikes,
        traces=traces.astype("f4"),
        neuropil=_smooth(steps, dt, 0.8),
        light=light.astype("f4"),
        fault=fault,
        footprints=footprints,
    )


def _smooth(steps: NDArray[np.float64], dt: float, tau: float) -> NDArray[np.float32]:
    from scipy.signal import lfilter

    keep = np.exp(-dt / tau)
    return np.asarray(lfilter([np.sqrt(1 - keep**2)], [1, -keep], steps, axis=0), dtype=np.float32)


def fov_masks(movie: FovMovie) -> tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.int16], NDArray[np.float32]]:
    """Footprints inside the FOV at rest: cell, y, x, weight (photons at rest)."""
    ny, nx = movie.modes.shape[1:]
    y, x = np.divmod(movie.scene.pixel, movie.scene.base.shape[1])
    y, x = y - MARGIN, x - MARGIN
    inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    return (movie.scene.cell[inside], y[inside].astype("i2"), x[inside].astype("i2"), movie.scene.photons[inside])


def peak_snr(movie: FovMovie) -> NDArray[np.float32]:
    """Peak signal-to-noise of each cell, f4 (n_cells,).

    The largest rise above the median, summed over the footprint with the footprint as weights, by the standard
    deviation of one frame's noise (photons and amplifier) in the same sum.
    """
    cell, y, x, photons = fov_masks(movie)
    n = movie.traces.shape[1]
    flat = (y.astype(int) + MARGIN) * movie.scene.base.shape[1] + x + MARGIN
    variance = movie.scene.base.ravel()[flat] + photons + (movie.config.read_noise / movie.config.gain) ** 2
    signal = np.bincount(cell, photons.astype(float) ** 2, n)
    noise = np.sqrt(np.bincount(cell, photons.astype(float) ** 2 * variance, n))
    rise = movie.traces.max(axis=0) - np.median(movie.traces, axis=0)
    return np.asarray(rise * signal / np.maximum(noise, 1e-9), dtype=np.float32)
