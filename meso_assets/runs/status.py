"""Where every session stands: per asset done, partial, stale, failed, running, pending, withheld (and why), or missing.

What belongs here: putting together how results stand (``defs.summaries``) and what Dagster knows of attempts
(``attempts``). Dagster's own colour of an asset speaks of all sessions at once; this speaks of each.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import dagster as dg

from meso_core.errors import told
from meso_core.progress import Progress, silent
from meso_core.session import SessionKey, Survey

from ..defs.catalogue import CATALOGUE
from ..defs.session_index import SessionIndex
from ..defs.summaries import AssetSummary, SessionSummary, summary_of
from ..io.resources import Platform
from .attempts import Failure, failures_of, recent_failures
from .cells import AssetStatus, SessionCells, State
from .settings import MesoSettings


def session_status(
    platform: Platform, instance: dg.DagsterInstance, key: SessionKey
) -> tuple[list[AssetStatus], tuple[str, ...]]:
    """Judge all assets of one session, in the order of the catalogue, and remark what is not as usual in its folder.

    Parameters
    ----------
    platform, instance
        Where results and where records are.
    key
        Session.
    """
    failures = recent_failures(instance, str(key))
    try:
        found = summary_of(platform.session(str(key)), platform.settings, now_ns=time.time_ns())
    except Exception as error:  # noqa: BLE001  whatever one session holds, the others are shown
        cells = unreadable(str(key), error)
    else:
        cells = cells_of(found, failures)
    return list(cells.cells), cells.all_remarks


def status_of(
    settings: MesoSettings,
    instance: dg.DagsterInstance,
    keys: Sequence[SessionKey],
    *,
    survey: Survey | None = None,
    progress: Progress = silent,
) -> tuple[SessionCells, ...]:
    """Judge very many sessions.

    Parameters
    ----------
    settings, instance
        Settings of the platform, and Dagster's records.
    keys
        Sessions; the answers come in their order.
    survey
        All sessions and where they lie, where the caller knows them.
    progress
        Told the sessions that were looked at.
    """
    places = survey.folders if survey is not None else {}
    failures = failures_of(instance, [str(key) for key in keys])
    index, found = SessionIndex(settings), []
    for n, key in enumerate(keys, 1):
        found.append(indexed_status(index, key, places.get(key, ""), failures.get(str(key), {})))
        progress(n, len(keys), "sessions looked at")
    index.save({str(key) for key in survey.sessions} if places and survey is not None else None)
    return tuple(found)


def indexed_status(index: SessionIndex, key: SessionKey, place: str, failures: Mapping[str, Failure]) -> SessionCells:
    """Judge all assets of one session of very many: what was looked at before is not looked at again.

    Parameters
    ----------
    index
        Answers of earlier looks.
    key, place
        Session, and where it lies below the root (looked for where this is empty).
    failures
        Asset → how the last attempt at it ended, where it did not end well.
    """
    try:
        found = index.summary(key, place=place, now_ns=time.time_ns())
    except Exception as error:  # noqa: BLE001  whatever one session holds, the others are shown
        return unreadable(str(key), error, place)
    return cells_of(found, failures, place)


def unreadable(key: str, error: Exception, place: str = "") -> SessionCells:
    """Say of all assets of a session that it cannot be looked at."""
    why = told(error)
    return SessionCells(key, tuple(AssetStatus(key, name, State.UNREADABLE, why) for name in CATALOGUE), (), "", place)


def cells_of(found: SessionSummary, failures: Mapping[str, Failure], place: str = "") -> SessionCells:
    """Put together how a session stands, and how attempts ended."""
    return SessionCells(
        found.key,
        tuple(_judged(found, asset, failures.get(asset)) for asset in CATALOGUE),
        found.remarks,
        "" if found.ready else found.reason,
        place,
        found.raw_bytes,
    )


def _judged(found: SessionSummary, asset: str, failure: Failure | None) -> AssetStatus:
    if asset not in found.assets and failure is None and not found.damaged:  # as most are on a disk of raw data
        return AssetStatus(found.key, asset, State.MISSING)
    one = found.asset(asset)
    state, why = _state(found, asset, one, failure)
    return AssetStatus(
        found.key,
        asset,
        state,
        why,
        one.published_at,
        one.n_files,
        one.n_bytes,
        one.verdict,
        one.verdict_why,
        one.run_id,
        failure.run_id if failure else "",
        one.shown,
    )


def _state(found: SessionSummary, asset: str, one: AssetSummary, failure: Failure | None) -> tuple[State, str]:
    if failure is not None and failure.state is State.RUNNING:
        return State.RUNNING, failure.why
    if one.is_current:
        remark = _remark(one, failure)
        if one.withheld:
            return State.WITHHELD, "; ".join([*one.withheld, *([remark] if failure else [])])
        return (State.NOT_APPLICABLE if one.lacks else State.DONE), "; ".join(filter(None, (one.lacks, remark)))
    if failure is not None:
        return failure.state, failure.why
    if not one.is_made:
        damaged = "; ".join(text for text in found.damaged if f"/{asset}.json" in text)
        if one.lacks and not damaged:
            return State.NOT_APPLICABLE, one.lacks
        return State.MISSING, damaged
    state = State.PENDING if one.only_waits else State.STALE
    return (State.PARTIAL if one.is_partial else state), "; ".join([*one.edits, *one.reasons])


def _remark(one: AssetSummary, failure: Failure | None) -> str:
    """Say what was special about a result that is current: a failed attempt never hides it."""
    how = {State.FAILED: "last attempt failed", State.INTERRUPTED: "last attempt"}
    return "; ".join(
        text
        for text in (
            *one.special,
            f"with options of its run: {one.options}" if one.options else "",
            f"{how[failure.state]}: {failure.why}" if failure else "",
        )
        if text
    )
