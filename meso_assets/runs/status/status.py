"""Where every session stands: per asset done, partial, stale, failed, running, pending, withheld (and why), or missing.

What belongs here: putting together how results stand (``defs.standing.summaries``) and what Dagster knows of attempts
(``attempts``). Dagster's own colour of an asset speaks of all sessions at once; this speaks of each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meso_core.errors import MesoError, told
from meso_core.progress import Progress, silent
from meso_core.session import PassedOver, SessionKey, Survey

from ...defs.catalogue import CATALOGUE
from ...defs.standing.session_index import SessionIndex
from ...defs.standing.summaries import AssetSummary, SessionSummary
from ...io.session_names import Registered, labs_by_subject
from ..settings.settings import MesoSettings
from .cells import AssetStatus, Failure, SessionCells, State

if TYPE_CHECKING:
    import dagster as dg

    from .dagster_records import Ask

#: Asset → its cell where nothing was made and nothing is to be said: most are so on a disk of raw data, and share it.
MISSING = {asset: AssetStatus(asset, State.MISSING) for asset in CATALOGUE}


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
    from .attempts import failures_of

    looks = _look_at_all(settings, keys, survey, progress)
    names = names_of(settings, Registered.of(instance), keys, survey)
    return _put_together(looks, names, failures_of(instance, list(names.values())))


def status_beside(
    settings: MesoSettings, ask: Ask, keys: Sequence[SessionKey], *, survey: Survey, progress: Progress = silent
) -> tuple[SessionCells, ...]:
    """Judge very many sessions as :func:`status_of`, while another process asks Dagster (``dagster_records``)."""
    looks = _look_at_all(settings, keys, survey, progress)
    told_by_dagster = ask()
    names = names_of(settings, told_by_dagster.registered, keys, survey)
    return _put_together(looks, names, told_by_dagster.failures)


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a session found."""

    key: SessionKey
    #: Where it lies below the root, where that is known.
    place: str
    #: How it stands, why it could not be looked at, or the roots that cannot be reached where it is in none that can.
    found: SessionSummary | Exception | tuple[PassedOver, ...]


def _look_at_all(
    settings: MesoSettings, keys: Sequence[SessionKey], survey: Survey | None, progress: Progress
) -> list[Look]:
    places = survey.folders if survey is not None else {}
    unreachable = () if survey is None else survey.unreachable
    index, looks = SessionIndex(settings), list[Look]()
    for n, key in enumerate(keys, 1):
        if unreachable and key not in places:
            looks.append(Look(key, "", unreachable))
        else:
            looks.append(_look(index, key, places.get(key, "")))
        progress(n, len(keys), "sessions looked at")
    index.save({str(key) for key in survey.sessions} if places and survey is not None else None)
    return looks


def _look(index: SessionIndex, key: SessionKey, place: str) -> Look:
    """Look at one session of very many: what was looked at before is not looked at again."""
    try:
        return Look(key, place, index.summary(key, place=place, now_ns=time.time_ns()))
    except Exception as error:  # noqa: BLE001  whatever one session holds, the others are shown
        return Look(key, place, error)


def _put_together(
    looks: Iterable[Look], names: Mapping[SessionKey, str], failures: Mapping[str, Mapping[str, Failure]]
) -> tuple[SessionCells, ...]:
    return tuple(cells_of_look(one, names[one.key], failures.get(names[one.key], {})) for one in looks)


def cells_of_look(look: Look, name: str, failures: Mapping[str, Failure]) -> SessionCells:
    """Judge all assets of one session.

    Parameters
    ----------
    look
        What a look at it found.
    name
        Its name.
    failures
        Asset → how the last attempt at it ended, where it did not end well.
    """
    if isinstance(look.found, SessionSummary):
        return cells_of(look.found, name, failures, look.place)
    if isinstance(look.found, Exception):
        why, place = told(look.found), look.place
    else:
        why = f"its disk cannot be reached, or it is gone: {'; '.join(map(str, look.found))}"
        place = look.found[0].path
    cells = tuple(AssetStatus(asset, State.UNREADABLE, why) for asset in CATALOGUE)
    return SessionCells(name, cells, (), "", place, key=str(look.key))


def sessions_there(registered: Callable[[], Registered], survey: Survey) -> tuple[SessionKey, ...]:
    """Sessions of a survey, and, where one of several roots cannot be reached, those that Dagster knows besides.

    Parameters
    ----------
    registered
        Gives the names that Dagster knows; called where they are needed.
    survey
        What a walk over the roots found.
    """
    if not survey.unreachable:
        return survey.sessions
    by_dagster, known = registered(), dict.fromkeys(survey.sessions)
    for name in sorted(by_dagster.names):
        with suppress(MesoError):  # a person made it up
            known.setdefault(by_dagster.key(name))
    return tuple(sorted(known.keys() - survey.twice, key=str))


def names_of(
    settings: MesoSettings, registered: Registered, keys: Iterable[SessionKey], survey: Survey | None = None
) -> dict[SessionKey, str]:
    """Names of sessions: their partition keys, or those that they would get.

    Parameters
    ----------
    settings
        Settings of the platform.
    registered
        Names that Dagster knows.
    keys
        Sessions.
    survey
        All sessions, where the caller knows them; else the labs of each subject are looked for.
    """
    chosen = tuple(keys)
    if survey is not None and survey.folders:
        labs: Mapping[str, Collection[str]] = labs_by_subject(survey.sessions)
    else:
        store, subjects = settings.store(), {key.subject for key in chosen if key.lab and not registered.find(key)}
        labs = {subject: store.labs_of(subject) for subject in subjects}
    return {key: registered.name(key, labs.get(key.subject, ())) for key in chosen}


def cells_of(found: SessionSummary, name: str, failures: Mapping[str, Failure], place: str = "") -> SessionCells:
    """Put together how a session stands, and how attempts ended."""
    return SessionCells(
        name,
        tuple(_judged(found, asset, failures.get(asset)) for asset in CATALOGUE),
        found.remarks,
        "" if found.ready else found.reason,
        place,
        found.raw_bytes,
        found.key,
        found.said,
    )


def _judged(found: SessionSummary, asset: str, failure: Failure | None) -> AssetStatus:
    if asset not in found.assets and failure is None and not found.damaged:
        return MISSING[asset]
    one = found.asset(asset)
    state, why = _state(found, asset, one, failure)
    return AssetStatus(
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
