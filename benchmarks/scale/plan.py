"""The steps of a session, what each waits for and needs, as meso plans them, and how long each takes.

The graph is that of the job, the needs are those that engines are asked for. The seconds follow from the size of the
session and from rates that ``benchmarks.stage_costs`` measured, not from what meso asks for, which is from above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from meso_core.imaging.needs import StepNeeds, Work

#: A large session: bytes of its tifs, fields of view, pixels of each.
BYTES, N_FOVS, SHAPE = 100e9, 8, (512, 512)
#: Bytes a second: of a core that archives and verifies; of a share on a network of 1 Gb/s, from which pages are cut;
#: of a core that registers, and that finds cells and traces. Those of cores are CPU time of ``benchmarks.stage_costs``
#: for 4000 frames of 4 FOVs: of 9.31 GB of tifs, and of 8.39 GB of movies.
_ARCHIVE, _SHARE, _REGISTER, _DETECT = 9.3e6, 110e6, 33e6, 120e6
#: As many cores as a step can use.
_MANY = 1024
#: What does not grow with the movie, s: as in a report of 8 fields of view, and places with an atlas of 10 µm.
_SECONDS = {Work.SMALL: 2.0, Work.GATHER: 10.0, Work.PUBLISH: 10.0, Work.LOCATE: 25.0}


@dataclass(frozen=True, slots=True)
class SimStep:
    """A step of a session."""

    key: str
    #: Keys of the steps that it waits for.
    after: tuple[str, ...]
    needs: StepNeeds
    #: What it computes for, s.
    seconds: float
    #: Whether it goes before others of its run.
    is_first: bool = False
    #: Whether it takes a place of the pool of fields of view.
    has_place: bool = False


def steps_of_a_session(
    needs: Mapping[Work, StepNeeds], seconds: Mapping[Work, float], n_fovs: int
) -> tuple[SimStep, ...]:
    """List the steps of a session in the order of its plan.

    Parameters
    ----------
    needs, seconds
        What each kind of work needs, and how long it computes.
    n_fovs
        Fields of view.
    """
    from dagster._core.execution.api import create_execution_plan
    from dagster._core.execution.plan.step import StepKind

    from meso_assets.definitions import build_defs
    from meso_assets.defs.jobs import PROCESS_SESSION
    from meso_assets.defs.needs import work_of_step
    from meso_assets.runs.settings.settings import MesoSettings

    plan = create_execution_plan(build_defs(MesoSettings()).resolve_job_def(PROCESS_SESSION))
    made: list[SimStep] = []

    def keys(of: str) -> list[str]:
        return [of.replace("?", f"FOV_{n:02d}") for n in range(n_fovs)] if "[?]" in of else [of]

    for step in plan.step_dict.values():
        key = step.key
        work = work_of_step(key)
        is_known = step.kind is StepKind.COMPUTE
        waits_for = step.get_execution_dependency_keys() if is_known else step.get_all_dependency_keys()
        after = tuple(one for other in sorted(waits_for) for one in keys(other))
        is_first = int(step.tags.get("dagster/priority", "0")) > 0
        has_place = step.pool is not None
        made += [SimStep(one, after, needs[work], seconds[work], is_first, has_place) for one in keys(key)]
    return tuple(made)


def large_session() -> tuple[SimStep, ...]:
    """List the steps of a session of 100 GB with 8 fields of view."""
    from meso_core.imaging.fovs.schedule import fov_memory
    from meso_core.imaging.needs import needs_of_work
    from meso_core.imaging.workload import Due, Plan, Step

    of_each = int(BYTES / N_FOVS)
    n_frames = of_each // (2 * SHAPE[0] * SHAPE[1])
    # suite2p's numbers of bins and of frames for the reference; GCaMP6s at 5 volumes a second
    settings = {"tau": 1.5, "fs": 5.0, "detection": {"nbins": 5000}, "registration": {"nimg_init": 400}}
    plan = Plan(int(BYTES), int(BYTES), of_each, N_FOVS, fov_memory(SHAPE, n_frames, settings))
    needs = needs_of_work(Due(frozenset(Step), int(BYTES)), plan, cores=_MANY)

    seconds = {
        **_SECONDS,
        Work.ARCHIVE: BYTES / _ARCHIVE / needs[Work.ARCHIVE].cores,
        Work.CUT: BYTES / _SHARE,
        Work.REGISTER: of_each / _REGISTER,
        Work.DETECT: of_each / _DETECT,
    }
    return steps_of_a_session(needs, seconds, N_FOVS)


def without(steps: Sequence[SimStep], part: str) -> tuple[SimStep, ...]:
    """Leave out the steps whose keys have a part; who waited for them waits for what they waited for."""
    out = {step.key: step.after for step in steps if part in step.key}
    kept = []
    for step in steps:
        if step.key not in out:
            after = dict.fromkeys(one for other in step.after for one in out.get(other, (other,)))
            kept.append(replace(step, after=tuple(after)))
    return tuple(kept)
