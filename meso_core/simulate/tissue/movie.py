"""The movie of one FOV, rendered frame by frame.

What belongs here: combining scene, activity, motion and detection to frames. What does not: pages, files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import SimulationConfig
from ..files.rows import RowFile, start_npy
from ..plan import GALVOS_FAULT, PMT_OFF, SessionPlan
from .activity import activity
from .geometry import pixel_um
from .motion import FovMotion, deformation_modes, fov_motion
from .optics import detect, displace
from .scene import MARGIN, N_NEUROPIL, Scene, focus, make_scene

#: Correlation time of the neuropil, s.
_NEUROPIL_S = 0.8


@dataclass(frozen=True, slots=True)
class FovMovie:
    """All that is needed to render any frame of a FOV, and its ground truth."""

    config: SimulationConfig
    index: int
    scene: Scene
    motion: FovMotion
    #: Smooth modes of deformation over the FOV and the margin beside it, f4 (n_modes, ny, nx + 2 MARGIN).
    modes: NDArray[np.float32]
    #: Brightness of each cell relative to rest, f4 (n_frames, n_cells): response, focus and bleaching.
    traces: RowFile
    #: Median brightness of each cell relative to rest, f4 (n_cells,); below 1 for a cell out of focus.
    rest: NDArray[np.float32]
    #: Largest rise of each cell above that median, f4 (n_cells,).
    rise: NDArray[np.float32]
    #: Neuropil fields over time, f4 (n_frames, N_NEUROPIL).
    neuropil: NDArray[np.float32]
    #: Share of light left after bleaching, f4 (n_frames,).
    light: NDArray[np.float32]
    #: 0 fine, 1 PMT off, 2 galvos fault, u1 (n_frames,).
    fault: NDArray[np.uint8]
    #: Footprints as a sparse matrix (pixels of the scene, cells).
    footprints: Any

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and pixels per line."""
        return self.modes.shape[1], self.modes.shape[2] - 2 * MARGIN

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels that show the FOV; a bead is green, whatever its number."""
        return (1,) if self.config.channels_are_depths else self.config.channels

    @property
    def n_frames(self) -> int:
        """Frames over all bouts."""
        return len(self.light)

    def render(self, start: int, stop: int) -> list[NDArray[np.int16]]:
        """Render frames ``start`` to ``stop`` of each saved channel, i2 (n, ny, nx)."""
        c = self.config
        out = [np.empty((stop - start, *self.shape), np.int16) for _ in self.channels]
        cells = self.traces.rows(start, stop)
        for frame in range(start, stop):
            rng = np.random.default_rng([c.seed, 501, self.index, frame])
            for channel, image in zip(out, self._photons(frame, cells[frame - start]), strict=True):
                channel[frame - start] = detect(rng, image, c.gain, c.offset, c.read_noise)
        return out

    def _photons(self, frame: int, cells: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Render the images of the channels without noise."""
        if self.fault[frame] == PMT_OFF:
            return [np.zeros(self.shape, np.float32)] * len(self.channels)
        lines = None
        if self.fault[frame] == GALVOS_FAULT:  # the slow galvo leaves its path
            lines = np.float32(9) * np.sin(np.linspace(0, 9, self.shape[0], dtype="f4"))
        images = []
        for channel in self.channels:
            scene = self._green(frame, cells) if channel in (1, 2) else self._red(frame)
            shift, weights = self.motion.shifts[frame], self.motion.weights[frame]
            images.append(displace(scene, shift, weights, self.modes, lines))
        return images

    def _green(self, frame: int, cells: NDArray[np.float32]) -> NDArray[np.float32]:
        s = self.scene
        image = s.base + np.tensordot(self.neuropil[frame], s.neuropil, axes=1)
        image *= self.light[frame]
        image += (self.footprints @ cells).reshape(image.shape)
        return np.asarray(image)

    def _red(self, frame: int) -> NDArray[np.float32]:
        """Image a structural label in every third cell; only focus changes its brightness."""
        s = self.scene
        labelled = focus(s.depth, self.motion.axial[frame : frame + 1])[0]
        labelled[np.arange(len(labelled)) % 3 > 0] = 0
        return np.asarray(np.float32(0.4) * s.base + (self.footprints @ (2 * labelled)).reshape(s.base.shape))


def make_movie(plan: SessionPlan, index: int, brain: NDArray[np.float64], folder: Path) -> FovMovie:
    """Prepare the movie of one FOV.

    Parameters
    ----------
    plan
        The session.
    index
        Index of the FOV.
    brain
        Motion of the brain at all ScanImage frames, from :func:`~.motion.brain_motion`.
    folder
        Gets the cells' ``spikes.npy`` and ``traces.npy``; frames are rendered from ``traces.npy``.
    """
    from scipy.sparse import csr_matrix

    config, geometry = plan.config, plan.geometry
    place = geometry.fovs[index]
    times, fault = plan.fov_series(index)
    um = pixel_um(config, place)
    scene = make_scene(config, index, place)
    brain = np.column_stack([np.interp(times, plan.frame_times, column) for column in brain.T])
    motion = fov_motion(config, index, brain, um)
    light = np.exp(-config.bleaching_per_hour * (times - times[0]) / 3600).astype("f4")
    # on average: with several frames per slice they come in bursts
    dt = geometry.frame_period * geometry.frames_per_volume * geometry.frames_averaged / geometry.frames_per_slice
    rest, top = _write_activity(config, index, scene, motion, light, dt, folder)
    steps = np.random.default_rng([config.seed, 502, index]).standard_normal((len(times), N_NEUROPIL))
    shape = (scene.base.size, len(scene.centres))
    return FovMovie(
        config=config,
        index=index,
        scene=scene,
        motion=motion,
        modes=deformation_modes(place.ny, place.nx, MARGIN),
        traces=RowFile(folder / "traces.npy"),
        rest=rest,
        rise=top - rest,
        neuropil=_smooth(steps, dt, _NEUROPIL_S),
        light=light,
        fault=fault,
        footprints=csr_matrix((scene.photons, (scene.pixel, scene.cell)), shape=shape),
    )


def _write_activity(
    config: SimulationConfig,
    index: int,
    scene: Scene,
    motion: FovMotion,
    light: NDArray[np.float32],
    dt: float,
    folder: Path,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Write spikes and brightness of all cells; return the median and the maximum of each cell, f4 (n_cells,)."""
    n, n_cells = len(light), len(scene.centres)
    top = np.zeros(n_cells, np.float32)
    some: list[NDArray[np.float32]] = []
    with (folder / "spikes.npy").open("wb") as spikes, (folder / "traces.npy").open("wb") as traces:
        start_npy(spikes, (n, n_cells), "|u1")
        start_npy(traces, (n, n_cells), "<f4")
        for block in activity(config, index, n, n_cells, dt):
            rows = slice(block.first, block.first + len(block.dff))
            bright = (1 + block.dff) * focus(scene.depth, motion.axial[rows]) * light[rows, None]
            spikes.write(block.spikes.tobytes())
            traces.write(bright.astype("<f4").tobytes())
            top = np.maximum(top, bright.max(axis=0))
            some.append(bright[:: max(n // 1000, 1)])
    return np.median(np.concatenate(some), axis=0).astype("f4"), top


def _smooth(steps: NDArray[np.float64], dt: float, tau: float) -> NDArray[np.float32]:
    from scipy.signal import lfilter

    keep = np.exp(-dt / tau)
    return np.asarray(lfilter([np.sqrt(1 - keep**2)], [1, -keep], steps, axis=0), dtype=np.float32)
