"""What is quick and what is long: of what is due in a session, and of a run by what it makes.

What belongs here: what follows from the declarations, which say of each asset whether it takes seconds, and the tags by
which the queue of runs tells the two apart. Nothing here loads Dagster.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from ..catalogue import CATALOGUE
from .standings import with_downstream

if TYPE_CHECKING:
    import dagster as dg

#: Assets that take seconds, by their declarations.
QUICK_ASSETS = tuple(name for name, declared in CATALOGUE.items() if declared.is_quick)
#: Tag of every run, and its values. Limits of ``dagster.yaml`` name them.
WORK, QUICK, LONG = "meso/work", "quick", "long"
#: What waits goes by this tag of Dagster's, the highest first, and then in its order.
_PRIORITY, _FIRST = "dagster/priority", "1"


def is_quick(assets: Collection[str]) -> bool:
    """Whether all these assets take seconds; nothing at all does not."""
    return bool(assets) and {*assets} <= {*QUICK_ASSETS}


def quick_part(due: Iterable[str]) -> tuple[str, ...]:
    """Choose what is quick of what is due, with what follows from it, and reads nothing long that is due too.

    In the order of the catalogue.
    """
    chosen, quick = with_downstream(due), list[str]()
    for name in chosen:  # in the catalogue an asset stands behind what it reads
        read = {*CATALOGUE[name].upstream} & {*chosen}
        if name in QUICK_ASSETS and read <= {*quick}:
            quick.append(name)
    return tuple(quick)


def tags_of_work(assets: Collection[str]) -> dict[str, str]:
    """Tags of a run that makes these assets: a quick one goes before what waits, and has places of its own."""
    return {WORK: QUICK, _PRIORITY: _FIRST} if is_quick(assets) else {WORK: LONG}


def work_of_run(run: dg.DagsterRun) -> dict[str, str]:
    """Tags of a run, by what it makes, through whichever door it came.

    One that chooses no assets makes what its job does, and that may have said that it is quick. A priority that
    somebody gave stays.
    """
    assets = {key.path[-1] for key in run.asset_selection or ()}
    tags = tags_of_work(assets) if assets else {WORK: run.tags.get(WORK, LONG)}
    return {name: text for name, text in tags.items() if name != _PRIORITY or name not in run.tags}
