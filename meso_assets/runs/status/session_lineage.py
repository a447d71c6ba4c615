"""The lineage of a whole session: for its page in the interface, and for `meso lineage SESSION`.

What belongs here: putting together how results stand, how they were made, which runs Dagster knows, and the last
audit. Nothing is decided here, and no record is read twice.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from meso_core.counting import counted
from meso_core.errors import InputFileError, MesoError
from meso_core.lineage import LastAudit, ResultLineage, last_audit, results_of

from ...defs.catalogue import CATALOGUE
from ...defs.declare import PEOPLE, raw_asset
from ...defs.standing.changed_settings import to_keep
from ...defs.standing.summaries import looked_at
from .cells import AssetStatus, Failure
from .status import cells_of

if TYPE_CHECKING:
    import dagster as dg

    from meso_core.report import GivenInput, SessionLineage, ShownResult
    from meso_core.storage import Session

    from ...defs.standing.standings import SessionView
    from ...io.resources import Platform


def session_lineage(
    platform: Platform, session: Session, name: str, failures: Mapping[str, Failure] | None = None
) -> SessionLineage:
    """Look at a session once, and tell how each of its results was made.

    Parameters
    ----------
    platform
        Where the sessions are, and the settings.
    session, name
        The session, and what people call it.
    failures
        Asset → how the last attempt at it ended, where it did not end well, or that it goes on.

    Raises
    ------
    MesoError, OSError
        If the session cannot be looked at.
    """
    from meso_core.report import SessionLineage

    looked = looked_at(session, platform.settings, now_ns=time.time_ns())
    cells = cells_of(looked.summary, name, failures or {}).cells
    made = results_of(looked.standings, {one: declared.default_settings for one, declared in CATALOGUE.items()})
    audit, damaged = _audit(session)
    return SessionLineage(
        name,
        str(session.key),
        datetime.now(UTC).isoformat(timespec="seconds"),
        [
            _result(one, cell, to_keep(looked.standings[one.asset], platform.settings))
            for one, cell in zip(made, cells, strict=True)
        ],
        _given(looked.seen),
        audit,
        damaged,
        damaged=looked.summary.damaged,
    )


def _result(made: ResultLineage, cell: AssetStatus, keeps: str) -> ShownResult:
    from meso_core.report import ShownResult, ShownRun

    run = None if made.manifest is None else ShownRun(made.manifest.made_by.run_id)
    return ShownResult(made, CATALOGUE[made.asset].group, cell.state.value, cell.why, run, to_keep=keeps)


def _given(seen: SessionView) -> tuple[GivenInput, ...]:
    from meso_core.report import GivenInput

    raw = [
        GivenInput(
            raw_asset(kind),
            files.version,
            counted(len(files.files), "file") if files.files else "none",
            sum(max(0, file.size) for file in files.files),
        )
        for kind, files in seen.raw.items()
    ]
    try:
        n_said = len(seen.people.verdicts)
        said = f"said by people {counted(n_said, 'time')}" if n_said else "nobody has said anything"
    except MesoError as error:
        said = str(error)
    return (*raw, GivenInput(PEOPLE, seen.people.version, said))


def _audit(session: Session) -> tuple[LastAudit | None, str]:
    """Read the last audit, or why it cannot be read."""
    try:
        return last_audit(session.path), ""
    except InputFileError as error:
        return None, str(error)


def runs_that_are_known(instance: dg.DagsterInstance, run_ids: Collection[str]) -> frozenset[str]:
    """Choose the runs that are in Dagster's records, in one query."""
    import dagster as dg

    if not run_ids:
        return frozenset()
    records = instance.get_run_records(dg.RunsFilter(run_ids=sorted(run_ids)))
    return frozenset(record.dagster_run.run_id for record in records)
