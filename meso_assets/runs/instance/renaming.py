"""Sessions whose partition keys are not what they are called today get their names, with their whole history.

What belongs here: which ones, when, and in which order, so that a kill at any moment loses nothing: the history is
copied, the new key added, the runs are tagged, and then the earlier key goes. What is done is not done again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from meso_core.counting import counted
from meso_core.errors import StorageError
from meso_core.progress import Progress, silent
from meso_core.session import SessionKey

from ...defs.catalogue import CATALOGUE, RECORDS
from ...defs.dagster_internals import sessions_at_work
from ...defs.notices.ledger import open_ledger
from ...defs.running.histories import copy_history
from ...defs.session_checks import session_checks
from ...io.session_names import (
    PARTITION_TAG,
    SESSION_PARTITION,
    labs_by_subject,
    names_to_change,
    session_tags,
)
from ..settings.settings import MesoSettings
from . import open_instance, sole_use

#: Tag of a run that names its session as it was called then.
EARLIER_NAME = "meso/earlier_name"
#: Beginnings of the words for backfills that have ended.
_ENDED = ("COMPLETED", "FAILED", "CANCELED")


@dataclass(frozen=True, slots=True)
class Renamed:
    """A session that was given its name."""

    old: str
    new: str
    n_events: int
    n_runs: int

    def __str__(self) -> str:
        history = f"{counted(self.n_events, 'event')} and {counted(self.n_runs, 'run')}"
        return f"{self.old} is called {self.new}: {history} go with it"


def bring_names_up_to_date(
    settings: MesoSettings,
    keys: Sequence[SessionKey],
    tell: Callable[[str], None],
    progress: Progress = silent,
) -> tuple[Renamed, ...]:
    """Give sessions their names, while nobody else uses the records.

    Parameters
    ----------
    settings
        Settings of the platform.
    keys
        All sessions of the root.
    tell
        Told of sessions that keep the earlier key until the next start.
    progress
        Told the sessions that are done.

    Raises
    ------
    StorageError
        If somebody uses the records, and there is something to do.
    """
    labs = labs_by_subject(keys)
    with open_instance(settings) as instance:
        if not names_to_change(instance, labs):
            return ()
    home = settings.dagster_home
    with sole_use(home), dg.DagsterInstance.from_config(str(home)) as instance:
        return tuple(rename_all(instance, labs, tell, progress, ledger_of=settings.home))


def rename_all(
    instance: dg.DagsterInstance,
    labs: Mapping[str, Collection[str]],
    tell: Callable[[str], None],
    progress: Progress = silent,
    *,
    ledger_of: Path | None = None,
) -> Iterator[Renamed]:
    """Give sessions their names, one after the other.

    Parameters
    ----------
    instance
        Dagster's records, which nobody else uses.
    labs
        Subject → labs in which it was found.
    tell, progress
        As for :func:`bring_names_up_to_date`.
    ledger_of
        Home of the notices that name sessions.

    Yields
    ------
    Renamed
        Each session when it is done.
    """
    due = names_to_change(instance, labs)
    if due and backfills_go_on(instance):
        tell(f"{counted(len(due), 'name')} of earlier versions stay until the backfill has ended that goes on")
        return
    busy = sessions_at_work(instance)
    for old in sorted(busy & due.keys()):
        tell(f"{old} keeps this name until its run has ended")
    chosen = {old: due[old] for old in due if old not in busy}
    if ledger_of is not None and chosen:
        _rename_in_notices(ledger_of, {old: new for old, (_, new) in chosen.items()}, tell)
    for n, (old, (key, new)) in enumerate(chosen.items(), 1):
        yield _rename(instance, key, old, new)
        progress(n, len(chosen), "sessions given their names")


def backfills_go_on(instance: dg.DagsterInstance) -> bool:
    """Whether a backfill has not ended: it may still start runs of any of its partitions."""
    return any(not one.status.value.startswith(_ENDED) for one in instance.get_backfills())


def _rename(instance: dg.DagsterInstance, key: SessionKey, old: str, new: str) -> Renamed:
    n_events = copy_history(instance, _checks(), old, new)
    instance.add_dynamic_partitions(SESSION_PARTITION, [new])
    runs = instance.get_runs(dg.RunsFilter(tags={PARTITION_TAG: old}))
    for run in runs:
        instance.add_run_tags(run.run_id, {EARLIER_NAME: old, PARTITION_TAG: new, **session_tags(key, new)})
    instance.delete_dynamic_partition(SESSION_PARTITION, old)
    return Renamed(old, new, n_events, len(runs))


def _checks() -> list[tuple[str, str]]:
    own = [(name, check) for name, declared in {**CATALOGUE, **RECORDS}.items() for check in declared.checks]
    return own + [(key.asset_key.path[-1], key.name) for one in session_checks for key in one.check_keys]


def _rename_in_notices(home: Path, names: Mapping[str, str], tell: Callable[[str], None]) -> None:
    """Let notices know sessions that failed by their new names; names go on changing where that cannot be."""
    try:
        with open_ledger(home) as ledger:
            if {*names} & {*ledger.failing}:
                ledger.failing = {names.get(what, what): why for what, why in ledger.failing.items()}
                ledger.save()
    except StorageError as error:
        tell(f"notices know sessions that failed by their earlier names, and may tell them once more: {error}")
