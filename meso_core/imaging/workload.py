"""What is to be made of a session, and how large that is.

What belongs here: the sizes from which room, memory, time and the needs of steps follow. What does not: the rules
(``preflight``, ``needs``).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from ..errors import MesoWarning
from ..scanimage import ImagingLayout
from ..session import SessionMetadata
from .fovs.schedule import fov_memory
from .options import NO_OVERRIDES, Genotype, Suite2pOverrides, suite2p_options


class Step(Enum):
    """A step that takes long."""

    ARCHIVE = "archive"
    REGISTRATION = "registration"
    DETECTION = "detection"


@dataclass(frozen=True, slots=True)
class PastStep:
    """What a step took in an earlier run on this machine."""

    step: Step
    #: Bytes that went in: tifs for the archive, movies for the others.
    bytes_in: int
    #: Bytes of what it published.
    bytes_out: int
    #: Wall time, s.
    seconds: float


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be made of a session."""

    steps: frozenset[Step]
    #: Bytes of its tifs.
    raw_bytes: int
    #: Bytes that have to be fetched to the same disk first; 0 for a root on a disk.
    fetched_bytes: int = 0
    #: Bytes of it that are on the disk already, begun by this run or by one that was interrupted.
    left_bytes: int = 0
    #: None while the imaging metadata are not known.
    metadata: SessionMetadata | None = None
    overrides: Suite2pOverrides = NO_OVERRIDES
    genotype: Genotype = ""
    #: Folder names of FOVs that the lab leaves out.
    left_out: tuple[str, ...] = ()
    #: Voxel size of the atlas with which places are found, µm; None for one that takes no memory to speak of.
    atlas_resolution_um: float | None = 10.0

    @property
    def suite2p_is_due(self) -> bool:
        """Whether a FOV is to be registered, or its cells found."""
        return bool(self.steps & {Step.REGISTRATION, Step.DETECTION})


@dataclass(frozen=True, slots=True)
class Plan:
    """The movies to be made."""

    cut_bytes: int
    #: Of those FOVs that are not left out.
    movie_bytes: int
    #: Of the largest one of them.
    largest_bytes: int
    n_fovs: int = 1
    #: That one FOV takes, from above; None where none is processed, or the imaging metadata are not known.
    memory: int | None = None

    @classmethod
    def of(cls, due: Due) -> Plan:
        """Tell the sizes from the metadata; without them from those of the tifs, which are larger."""
        if due.metadata is None:
            return cls(due.raw_bytes, due.raw_bytes, due.raw_bytes)  # lines between FOVs are dropped: never more
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MesoWarning)  # the steps tell them
            layout = ImagingLayout.from_meta(due.metadata.imaging)
            slices = [layout.slices_of(bout.frames_in_acquisition) for bout in due.metadata.bouts]
            n_frames = [sum(int(np.count_nonzero(s == fov.slice_index)) for s in slices) for fov in layout.fovs]
            sizes = [
                2 * fov.ny * fov.nx * n * len(layout.channels_of(fov))
                for fov, n in zip(layout.fovs, n_frames, strict=True)
            ]
            kept = [fov for fov in layout.fovs if fov.name not in due.left_out]
            memory = None
            if due.suite2p_is_due and kept:
                memory = max(
                    fov_memory((fov.ny, fov.nx), n_frames[fov.index], _settings(due, due.metadata, fov.index))
                    for fov in kept
                )
        movies = [sizes[fov.index] for fov in kept]
        return cls(sum(sizes), sum(movies), max(movies, default=0), max(1, len(kept)), memory)


def _settings(due: Due, metadata: SessionMetadata, fov: int) -> Mapping[str, object]:
    return suite2p_options(metadata.imaging, fov, genotype=due.genotype, overrides=due.overrides).settings
