"""The audit of a session as the platform asks for it: declarations, Dagster's log and runs, handed to ``meso_core``.

What belongs here: what the event log holds of a session's assets, as plain values. What is wrong is decided in
``meso_core.lineage``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from meso_core.lineage import AuditVerdict, Finding, Materialization
from meso_core.progress import Progress, silent
from meso_core.session import SessionKey
from meso_core.storage import Session

from ...io.session_names import PARTITION_TAG, Registered
from ...runs.settings.settings import MesoSettings
from ..catalogue import CATALOGUE
from ..dagster_internals import latest_versions, materializations
from .auditing import Audited, AuditOrder, KnownSession, audit_all, audit_known

_AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]

#: Sessions of which Dagster's log is asked in one query.
_AT_A_TIME = 500
#: Rows of the table that a person reads in the UI; the file has all.
_MAX_ROWS = 40


@dataclass(frozen=True, slots=True)
class _Known:
    """What Dagster knows of some sessions, asked for in a few queries."""

    #: Asset → session → data version of the last materialisation.
    versions: Mapping[str, Mapping[str, str]]
    #: Session → asset → run that makes it now.
    running: Mapping[str, Mapping[str, str]]


def audited(
    session: Session,
    settings: MesoSettings,
    instance: dg.DagsterInstance,
    *,
    deep: bool = False,
    progress: Progress = silent,
) -> AuditVerdict:
    """Audit one session; nothing is written."""
    (known,) = _known_sessions([session.key], instance, deep=deep)
    return audit_known(session, settings, known, deep=deep, progress=progress)


def audited_sessions(
    keys: Sequence[SessionKey],
    settings: MesoSettings,
    instance: dg.DagsterInstance,
    order: AuditOrder,
    *,
    progress: Progress = silent,
) -> Iterator[Audited]:
    """Audit sessions and keep their verdicts, in this order; for one that cannot be read, its error is given.

    Memory does not grow with their number.
    """
    return audit_all(_known_sessions(keys, instance, deep=order.deep), len(keys), settings, order, progress)


def _known_sessions(keys: Sequence[SessionKey], instance: dg.DagsterInstance, *, deep: bool) -> Iterator[KnownSession]:
    """Ask Dagster's log of sessions: a deep audit takes all events of their assets, a quick one the last of each."""
    registered = Registered.of(instance)
    for start in range(0, len(keys), _AT_A_TIME):
        some = [registered.name(key) for key in keys[start : start + _AT_A_TIME]]
        known = _known(instance, some)
        for key, text in zip(keys[start : start + _AT_A_TIME], some, strict=True):
            events = {
                name: _all_events(instance, name, text) if deep else _last_version(known, name, text)
                for name in CATALOGUE
            }
            yield KnownSession(key, events, known.running.get(text, {}))


def _all_events(instance: dg.DagsterInstance, asset: str, session: str) -> tuple[Materialization, ...]:
    return tuple(Materialization(*event) for event in materializations(instance, asset, session))


def _last_version(known: _Known, asset: str, session: str) -> tuple[Materialization, ...]:
    version = known.versions[asset].get(session)
    return () if version is None else (Materialization("", 0.0, version),)


def _known(instance: dg.DagsterInstance, sessions: Sequence[str]) -> _Known:
    running: dict[str, dict[str, str]] = {}
    for run in instance.get_runs(dg.RunsFilter(statuses=_AT_WORK)):
        chosen = run.asset_selection
        names = tuple(CATALOGUE) if chosen is None else tuple(asset.path[-1] for asset in chosen)
        session = run.tags.get(PARTITION_TAG, "")
        running.setdefault(session, {}).update(dict.fromkeys(names, run.run_id))
    return _Known({name: latest_versions(instance, name, sessions) for name in CATALOGUE}, running)


def verdict_metadata(verdict: AuditVerdict, earlier: Sequence[str] = ()) -> dict[str, Any]:
    """Show a verdict in the UI: counts, a table of what was found, and the earlier verdicts."""
    shown: dict[str, Any] = {
        "faults": dg.MetadataValue.int(len(verdict.faults)),
        "summary": dg.MetadataValue.text(verdict.summary),
        "findings": dg.MetadataValue.md(finding_table(verdict.findings)),
    }
    if earlier:
        shown["history"] = dg.MetadataValue.md("\n".join(["```", *earlier, "```"]))
    return shown


def finding_table(findings: Sequence[Finding]) -> str:
    """Markdown table of findings."""
    if not findings:
        return "all as recorded"
    rows = ["| what | asset | path | expected | found | what to do |", "| --- | --- | --- | --- | --- | --- |"]
    rows += [
        "| " + " | ".join(_cell(text) for text in (f.kind.value, f.asset, f.path, f.expected, f.found, f.remedy)) + " |"
        for f in findings[:_MAX_ROWS]
    ]
    if len(findings) > _MAX_ROWS:
        rows += ["", f"{len(findings) - _MAX_ROWS} more are in `.meso/audit/last.json` of the session."]
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|") or "–"
