"""Group report: the audit of a session as an asset, and of all sessions as a job that runs by the clock."""

import hashlib
from typing import TYPE_CHECKING, TypeAlias

import dagster as dg

from meso_core.counting import counted
from meso_core.json_text import json_text
from meso_core.lineage import AuditVerdict, earlier_verdicts, keep_verdict
from meso_core.progress import throttled
from meso_core.storage import Session

from ..defs.catalogue import RECORDS
from ..defs.checks import check_results, check_specs
from ..defs.dagster_internals import report_check
from ..defs.guard import guarded
from ..defs.lineage.auditing import AuditOrder
from ..defs.lineage.audits import audited, audited_sessions, verdict_metadata
from ..defs.partitions import session_partitions
from ..io.resources import Platform
from ..io.session_names import Registered
from .session_asset import OWNERS

_AUDIT = RECORDS["lineage_audit"]
(_CHECK,) = _AUDIT.checks

if TYPE_CHECKING:
    Result: TypeAlias = dg.MaterializeResult[None]
else:  # Dagster knows it by the bare class
    Result = dg.MaterializeResult


class AuditConfig(dg.Config):
    """Choices of one audit."""

    #: Compare the content of every file; otherwise sizes and times.
    deep: bool = False


@dg.asset(
    name=_AUDIT.name,
    group_name=_AUDIT.group,
    description=_AUDIT.description,
    owners=OWNERS,
    kinds=set(_AUDIT.kinds),
    code_version=_AUDIT.code_version,
    partitions_def=session_partitions,
    deps=list(_AUDIT.upstream),
    check_specs=check_specs(_AUDIT),
)
def lineage_audit(context: dg.AssetExecutionContext, platform: Platform, config: AuditConfig) -> Result:
    """Audit one session."""
    session = platform.session(context.partition_key, context.instance)
    with guarded(context):
        progress = throttled(context.log.info, every_s=10.0)
        verdict = audited(session, platform.settings, context.instance, deep=config.deep, progress=progress)
        with session.recording() as session_path:
            keep_verdict(session_path, verdict)
    return dg.MaterializeResult(
        metadata=verdict_metadata(verdict, earlier_verdicts(session.path)),
        data_version=dg.DataVersion(_version(verdict)),
        check_results=check_results(_AUDIT, [verdict.as_check(_CHECK)]),
    )


def _version(verdict: AuditVerdict) -> str:
    """Equal findings, equal version."""
    records = json_text([finding.as_record() for finding in verdict.findings])
    return hashlib.sha256(records.encode()).hexdigest()


@dg.op(
    name="sessions_audited",
    out=dg.Out(dg.Nothing),
    description="Audit all sessions; those in which something else is found than last time are told.",
)
def _sessions_audited(context: dg.OpExecutionContext, platform: Platform, config: AuditConfig) -> None:
    registered, n_faulty, n_unreadable = Registered.of(context.instance), 0, 0
    keys, progress = platform.store.sessions(), throttled(context.log.info, every_s=60.0)
    order = AuditOrder(config.deep)
    for one in audited_sessions(keys, platform.settings, context.instance, order, progress=progress):
        if one.verdict is None:
            context.log.warning(f"{one.key}: could not be audited: {one.error}")
            n_unreadable += 1
            continue
        if one.error is not None:
            context.log.warning(f"{one.key}: the verdict is not kept with the session: {one.error}")
        n_faulty += bool(one.verdict.faults)
        if one.verdict.faults:
            context.log.warning(f"{one.key}: {one.verdict.summary}")
        if one.is_news and (name := registered.find(one.key)) is not None:
            context.log_event(_event(platform.at(one.key), name, one.verdict))
            (answer,) = check_results(_AUDIT, [one.verdict.as_check(_CHECK)])
            report_check(context, answer, name)
    context.log.info(f"{counted(n_faulty, 'session')} with findings")
    if n_unreadable:
        raise dg.Failure(f"{counted(n_unreadable, 'session')} could not be audited; see the log", allow_retries=False)


def _event(session: Session, name: str, verdict: AuditVerdict) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        _AUDIT.name,
        partition=name,
        metadata=verdict_metadata(verdict, earlier_verdicts(session.path)),
        tags={"dagster/data_version": _version(verdict)},
    )


@dg.job(description="Audit all sessions: files, manifests and Dagster's log compared. The same as `meso audit`.")
def audit_sessions() -> None:
    """Audit all sessions."""
    _sessions_audited()


def _config(*, deep: bool) -> dg.RunConfig:
    return dg.RunConfig(ops={"sessions_audited": AuditConfig(deep=deep)})


audit_schedules = (
    dg.ScheduleDefinition(
        name="audit_every_night",
        job=audit_sessions,
        cron_schedule="0 3 * * *",
        run_config=_config(deep=False),
        description="Compare sizes and times of all published files with their records.",
    ),
    dg.ScheduleDefinition(
        name="audit_contents_every_month",
        job=audit_sessions,
        cron_schedule="0 4 1 * *",
        run_config=_config(deep=True),
        description="Read all published files and compare their content with their records.",
    ),
)
