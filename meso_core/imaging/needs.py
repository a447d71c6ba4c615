"""What the steps of a session need: cores, memory, a GPU, minutes; from the session's own size.

What belongs here: the rule, which every engine translates into its own words. All FOVs of a session need the same, that
of the largest one, so that a scheduler can take them as one array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from math import ceil
from statistics import median

from .workload import Due, PastStep, Plan, Step


class Work(Enum):
    """What a step does, as far as the needs of steps differ."""

    SMALL = "what takes seconds"
    ARCHIVE = "archive the tifs"
    CUT = "cut the pages"
    REGISTER = "register a field of view"
    DETECT = "find cells of a field of view"
    GATHER = "gather, judge and report"
    PUBLISH = "gather fields of view"
    LOCATE = "find places in the brain"


@dataclass(frozen=True, slots=True)
class StepNeeds:
    """What one step needs."""

    cores: int
    memory_gb: float
    gpu: bool
    #: From above: a scheduler ends what takes longer.
    minutes: int

    def with_more_memory(self) -> StepNeeds:
        """Ask for twice the memory."""
        return replace(self, memory_gb=2 * self.memory_gb)


#: What goes through files in pieces needs no more than libraries and some buffers, GB.
_MEMORY_GB = 4.0
#: Of the step itself, beside the worker that runs suite2p, GB.
_BESIDE_GB = 0.5
#: Volume of the Allen CCF of 2017, µm³: 13.2 × 8.0 × 11.4 mm (Wang et al. 2020, doi:10.1016/j.cell.2020.04.007).
_CCF_UM3 = 13_200.0 * 8_000.0 * 11_400.0
#: Of a voxel of the atlas: image, labels, and what the surface is found with.
_BYTES_A_VOXEL = 8.0
#: More cores than this make none of it quicker.
MOST_CORES = 8
#: Slow disks and processors: what a core does with this at least, bytes per s. Registration takes 7 ms for a frame of
#: 512 × 512 on a core of 2020 (measured), which is 75 MB/s.
_BYTES_PER_S: Mapping[Work, float] = {
    Work.ARCHIVE: 2e6,
    Work.CUT: 20e6,
    Work.REGISTER: 10e6,
    Work.DETECT: 10e6,
    Work.GATHER: 20e6,
    Work.PUBLISH: 20e6,
    Work.LOCATE: 20e6,
}
#: Twice what is expected, and never less than this, min.
_MARGIN, _LEAST_MINUTES = 2.0, 30
#: Kinds that earlier runs have told the time of.
_STEP_OF = {Work.ARCHIVE: Step.ARCHIVE, Work.REGISTER: Step.REGISTRATION, Work.DETECT: Step.DETECTION}


def needs_of_work(due: Due, plan: Plan, *, cores: int, past: Sequence[PastStep] = ()) -> Mapping[Work, StepNeeds]:
    """Tell what each kind of step needs.

    Parameters
    ----------
    due
        What is to be made of the session.
    plan
        How large that is.
    cores
        That one step may have at most.
    past
        Steps of earlier runs. Where they were slower than what is assumed here, they count.

    Returns
    -------
    dict
        For every kind of work.
    """
    many = min(cores, MOST_CORES)
    fov_gb = _MEMORY_GB if plan.memory is None else _in_gb(plan.memory) + _BESIDE_GB
    n_voxels = _CCF_UM3 / due.atlas_resolution_um**3 if due.atlas_resolution_um else 0.0
    with_gpu = str(due.overrides.values.get("torch_device", "")).startswith("cuda")

    def minutes(work: Work, n_bytes: int, n_cores: int = 1) -> int:
        return max(_LEAST_MINUTES, ceil(_MARGIN * n_bytes * _seconds_a_byte(work, n_cores, past) / 60))

    gather = minutes(Work.GATHER, plan.movie_bytes)
    return {
        Work.SMALL: StepNeeds(1, _MEMORY_GB, False, _LEAST_MINUTES),
        Work.ARCHIVE: StepNeeds(many, _MEMORY_GB, False, minutes(Work.ARCHIVE, due.raw_bytes, many)),
        Work.CUT: StepNeeds(many, _MEMORY_GB, with_gpu, minutes(Work.CUT, due.raw_bytes)),
        Work.REGISTER: StepNeeds(1, fov_gb, with_gpu, minutes(Work.REGISTER, plan.largest_bytes)),
        Work.DETECT: StepNeeds(1, fov_gb, with_gpu, minutes(Work.DETECT, plan.largest_bytes)),
        Work.GATHER: StepNeeds(1, _MEMORY_GB, False, gather),
        # what a GPU has made is another result than what a processor makes: all steps of suite2p look at the same
        Work.PUBLISH: StepNeeds(1, _MEMORY_GB, with_gpu, gather),
        Work.LOCATE: StepNeeds(1, _MEMORY_GB + _in_gb(_BYTES_A_VOXEL * n_voxels), False, gather),
    }


def _in_gb(n_bytes: float) -> float:
    return ceil(n_bytes / 1e8) / 10


def _seconds_a_byte(work: Work, n_cores: int, past: Sequence[PastStep]) -> float:
    step = _STEP_OF.get(work)
    slow = 1 / (_BYTES_PER_S[work] * n_cores)
    rates = [one.seconds / one.bytes_in for one in past if one.step is step and one.bytes_in]
    return max(slow, median(rates)) if rates else slow
