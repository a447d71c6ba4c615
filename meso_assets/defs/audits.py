"""The audit of a session as the platform asks for it: declarations, Dagster's log and runs, handed to ``meso_core``.

What belongs here: what the event log holds of a session's assets, as plain values. What is wrong is decided in
``meso_core.lineage``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from meso_core.errors import MesoError, MesoWarning
from meso_core.lineage import AuditedAsset, AuditVerdict, Finding, Materialization, audit_session, with_accepted
from meso_core.progress import Progress, silent
from meso_core.session import SessionKey
from meso_core.storage import Session

from ..io.resources import Platform
from ..runs.settings import MesoSettings
from .catalogue import CATALOGUE
from .dagster_internals import latest_versions, materializations
from .standings import look_at

_AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]

#: Sessions of which Dagster's log is asked in one query.
_AT_A_TIME = 500
#: Rows of the table that a person reads in the UI; the file has all.
_MAX_ROWS = 40


@dataclass(frozen=True, slots=True)
class Known:
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
    return _audited(session, settings, instance, _known(instance, [str(session.key)]), deep=deep, progress=progress)


def audited_sessions(
    platform: Platform,
    keys: Sequence[SessionKey],
    instance: dg.DagsterInstance,
    *,
    deep: bool = False,
    progress: Progress = silent,
) -> Iterator[tuple[SessionKey, AuditVerdict | Exception]]:
    """Audit sessions one after another; for one that cannot be read, its error is given.

    Memory does not grow with their number.
    """
    for start in range(0, len(keys), _AT_A_TIME):
        some = keys[start : start + _AT_A_TIME]
        known = _known(instance, [str(key) for key in some])
        for key in some:
            try:
                session = platform.session(str(key))
                verdict = _audited(session, platform.settings, instance, known, deep=deep, progress=progress)
            except (MesoError, OSError) as error:  # the others go on
                yield key, error
            else:
                yield key, verdict


def _audited(
    session: Session,
    settings: MesoSettings,
    instance: dg.DagsterInstance,
    known: Known,
    *,
    deep: bool,
    progress: Progress,
) -> AuditVerdict:
    """Audit a session: the deep pass asks for all events of its assets, the quick one takes the last of each."""
    key = str(session.key)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MesoWarning)  # a damaged record is a finding
        seen = look_at(session)
        standings = seen.standings(settings)
    assets = [
        AuditedAsset(
            name,
            declared.places,
            standings[name],
            _all_events(instance, name, key) if deep else _last_version(known, name, key),
            known.running.get(key, {}).get(name, ""),
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


def _all_events(instance: dg.DagsterInstance, asset: str, session: str) -> tuple[Materialization, ...]:
    return tuple(Materialization(*event) for event in materializations(instance, asset, session))


def _last_version(known: Known, asset: str, session: str) -> tuple[Materialization, ...]:
    version = known.versions[asset].get(session)
    return () if version is None else (Materialization("", 0.0, version),)


def _known(instance: dg.DagsterInstance, sessions: Sequence[str]) -> Known:
    running: dict[str, dict[str, str]] = {}
    for run in instance.get_runs(dg.RunsFilter(statuses=_AT_WORK)):
        chosen = run.asset_selection
        names = tuple(CATALOGUE) if chosen is None else tuple(asset.path[-1] for asset in chosen)
        session = run.tags.get("dagster/partition", "")
        running.setdefault(session, {}).update(dict.fromkeys(names, run.run_id))
    return Known({name: latest_versions(instance, name, sessions) for name in CATALOGUE}, running)


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
