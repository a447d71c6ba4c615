"""Sessions audited, given what Dagster's log holds of them, in this process or in several.

What belongs here: what a process does that audits, and how sessions are shared between processes. No Dagster: loading
it takes longer than auditing hundreds of sessions. What its log holds is asked in ``audits``.
"""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from meso_core.errors import MesoError, MesoWarning, ProcessingError, SettingsError
from meso_core.lineage import (
    AuditedAsset,
    AuditVerdict,
    Materialization,
    accept_findings,
    audit_session,
    keep_verdict,
    with_accepted,
)
from meso_core.machine import in_haste, side_by_side
from meso_core.processes import end_with_parent, uninterrupted
from meso_core.progress import Progress, silent
from meso_core.session import SessionKey
from meso_core.storage import Session

from ...runs.settings.settings import MesoSettings
from ..catalogue import CATALOGUE
from ..standing.changed_settings import to_keep
from ..standing.standings import look_at

#: Sessions that a process is given at a time, and the fewest that are worth starting one for.
_AT_A_TIME, _WORTH_A_PROCESS = 50, 250
#: Memory of a process, GB (measured: 0.12).
_MEMORY_GB = 0.2


@dataclass(frozen=True, slots=True)
class KnownSession:
    """What Dagster's log holds of one session."""

    key: SessionKey
    #: Asset → its materialisations, newest first.
    events: Mapping[str, tuple[Materialization, ...]]
    #: Asset → run that makes it now.
    running: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AuditOrder:
    """What is asked of an audit of many sessions."""

    #: Compare the content of every file; otherwise sizes and times.
    deep: bool = False
    #: Who accepts what no run can bring back, and why; empty where nothing is accepted.
    who: str = ""
    why: str = ""

    def __post_init__(self) -> None:
        if bool(self.who.strip()) != bool(self.why.strip()):
            found = f"{self.who!r}, {self.why!r}"
            raise SettingsError.at(
                "--accept", expected="who and why", found=found, remedy="Give both --accept and --who"
            )


@dataclass(frozen=True, slots=True)
class Audited:
    """What became of the audit of one session."""

    key: SessionKey
    #: None where it could not be audited.
    verdict: AuditVerdict | None
    #: Whether it finds something else than the last audit.
    is_news: bool = False
    #: Why it could not be audited, or why its verdict could not be kept with it.
    error: Exception | None = None


def audit_known(
    session: Session, settings: MesoSettings, known: KnownSession, *, deep: bool, progress: Progress = silent
) -> AuditVerdict:
    """Audit one session; nothing is written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MesoWarning)  # a damaged record is a finding
        seen = look_at(session)
        standings = seen.standings(settings)
    assets = [
        AuditedAsset(
            name,
            declared.places,
            standings[name],
            known.events.get(name, ()),
            known.running.get(name, ""),
            to_keep(standings[name], settings),
        )
        for name, declared in CATALOGUE.items()
    ]
    verdict = audit_session(
        session,
        assets,
        seen.listing,
        {file.path for file in seen.delivered},
        deep=deep,
        threads=settings.cores,
        progress=progress,
    )
    return with_accepted(session.path, verdict)


def audit_all(
    sessions: Iterable[KnownSession], total: int, settings: MesoSettings, order: AuditOrder, progress: Progress = silent
) -> Iterator[Audited]:
    """Audit sessions and keep their verdicts; in the order given, and in several processes where they are many.

    A deep audit reads the files of one session after another, side by side.

    Parameters
    ----------
    sessions
        What is known of each; taken as far ahead as processes need, so that memory does not grow with their number.
    total
        How many they are.
    settings
        Settings of the platform.
    order
        What is asked.
    progress
        Told the sessions that are done, and the bytes that a deep audit has read.

    Raises
    ------
    ProcessingError
        If a process was killed. Verdicts of sessions that were audited are kept.
    """
    wanted = 1 if order.deep else min(settings.cores, total // _WORTH_A_PROCESS)
    processes = side_by_side(_MEMORY_GB, cores=max(1, wanted), memory=settings.memory_gb)
    if processes > 1:
        audited = _in_processes(sessions, settings, order, processes)
    else:
        audited = (_audit_one(known, settings, order, progress) for known in sessions)
    for done, one in enumerate(audited, 1):
        if total > 1:
            progress(done, total, "sessions audited")
        yield one


def _audit_one(known: KnownSession, settings: MesoSettings, order: AuditOrder, progress: Progress) -> Audited:
    try:
        store = settings.store().store_of(known.key)
        session = Session(known.key, store.local(known.key), store)
        verdict = audit_known(session, settings, known, deep=order.deep, progress=progress)
    except (MesoError, OSError) as error:  # the others go on
        return Audited(known.key, None, error=error)
    try:
        with session.recording() as path:
            if order.why and accept_findings(path, verdict, order.who, order.why):
                verdict = with_accepted(path, verdict)
            is_news = keep_verdict(path, verdict)
    except (MesoError, OSError) as error:  # the disk is full, or may only be read: what was found is told all the same
        return Audited(known.key, None if order.why else verdict, error=error)
    return Audited(known.key, verdict, is_news)


def _audit_some(some: Sequence[KnownSession], settings: MesoSettings, order: AuditOrder) -> list[Audited]:
    """Work of another process."""
    with in_haste():
        return [_audit_one(known, settings, order, silent) for known in some]


def _in_processes(
    sessions: Iterable[KnownSession], settings: MesoSettings, order: AuditOrder, n_processes: int
) -> Iterator[Audited]:
    """Share sessions between processes that end with this one; their answers come in the order of the sessions."""
    asked: deque[Future[list[Audited]]] = deque()
    # started anew: a fork would take over the connections to Dagster's records
    pool = ProcessPoolExecutor(
        n_processes, multiprocessing.get_context("spawn"), initializer=end_with_parent, initargs=(os.getpid(),)
    )
    try:
        for some in _chunks(sessions):
            with uninterrupted():
                asked.append(pool.submit(_audit_some, some, settings, order))
            if len(asked) > 2 * n_processes:
                yield from asked.popleft().result()
        while asked:
            yield from asked.popleft().result()
    except BrokenProcessPool as error:
        raise ProcessingError.at(
            settings.store().root,
            expected=f"{n_processes} processes that audit",
            found="one was killed (out of memory, most often)",
            remedy="Free memory or set MESO_CORES to fewer, and audit again",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _chunks(sessions: Iterable[KnownSession]) -> Iterator[list[KnownSession]]:
    some: list[KnownSession] = []
    for known in sessions:
        some.append(known)
        if len(some) == _AT_A_TIME:
            yield some
            some = []
    if some:
        yield some
