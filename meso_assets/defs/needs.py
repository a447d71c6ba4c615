"""What the steps of a run need, by the name of the step, whichever engine runs it.

What belongs here: the way from a step's name to the kind of work that ``meso_core.imaging.needs`` knows. It follows
from the declarations, so that a new asset needs no line here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .catalogue import CATALOGUE, RECORDS
from .dagster_internals import asset_of_step
from .preflight import Flight
from .running.past_runs import ARCHIVE, MOVIES, ROIS

if TYPE_CHECKING:
    from meso_core.imaging import Preflight, StepNeeds, Work

#: The steps of assets that are made in several, in their order, and the kind of work of each.
STEPS = {
    MOVIES: {"split_pages": "CUT", "register_fov": "REGISTER", "publish_frames": "PUBLISH"},
    ROIS: {"each_fov": "PUBLISH", "find_rois": "DETECT", "publish_rois": "PUBLISH"},
}
#: Those of which there is one for each field of view.
_OF_EACH_FOV = ("REGISTER", "DETECT")


@dataclass(frozen=True, slots=True)
class NeedsRow:
    """What a step of a run needs, and how many there are of it."""

    step: str
    n: int
    needs: StepNeeds


def work_of_step(step_key: str) -> Work:
    """Tell what a step does, by its name: ``rois.find_rois[FOV_00]`` finds the cells of a field of view."""
    from meso_core.imaging import Work

    asset, op = asset_of_step(step_key), step_key.partition("[")[0].rpartition(".")[2]
    if asset in STEPS:
        return Work[STEPS[asset].get(op, Work.PUBLISH.name)]
    if asset == ARCHIVE:
        return Work.ARCHIVE
    declared = {**CATALOGUE, **RECORDS}.get(asset)
    if declared is None:
        return Work.SMALL
    if "atlas" in declared.settings:
        return Work.LOCATE
    return Work.SMALL if declared.is_quick else Work.GATHER


def needs_rows(flight: Flight, ahead: Preflight) -> tuple[NeedsRow, ...]:
    """List the steps that are due in a session, with what each needs."""
    due = [name for name in CATALOGUE if flight.is_due(name)]
    steps = [f"{name}.{op}" if op else name for name in due for op in STEPS.get(name, ("",))]
    rows = []
    for step in steps:
        work = work_of_step(step)
        rows.append(NeedsRow(step, ahead.n_fovs if work.name in _OF_EACH_FOV else 1, ahead.needs[work]))
    return tuple(rows)
