"""Group alyx: what the lab's database is told of a session."""

import functools
import time
from typing import TYPE_CHECKING

import dagster as dg

from meso_core.session import RawFiles, SessionMetadata

from ..defs.alyx.parts import own_files_of, verdict_of
from ..defs.catalogue import CATALOGUE
from ..io.alyx import Alyx
from ..io.metadata import dataset_metadata, fov_record_metadata
from ..io.published import LocatedFovs
from ..io.resources import Platform
from .registering import Told, forbidden_by_qc, told_to_alyx
from .session_asset import AssetRun, Result, session_asset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meso_core.alyx import Sent
    from meso_core.storage import Staging

_FOVS, _SNAPSHOTS, _DATASETS = (CATALOGUE[f"alyx_{name}"] for name in ("fov_records", "snapshots", "datasets"))
_SESSION_QC = CATALOGUE["alyx_session_qc"]


@session_asset(_FOVS)
def alyx_fov_records(
    context: dg.AssetExecutionContext,
    platform: Platform,
    alyx: Alyx,
    imaging_metadata: SessionMetadata,
    mean_image_mlapdv: LocatedFovs,
) -> Result:
    """Tell Alyx of the fields of view, their locations, and the normal of the craniotomy."""
    from meso_core.alyx import plan_craniotomy, plan_fovs, register_fov, update_surgery_json, why_never_sent

    def prepare(run: AssetRun) -> Told:
        key, locations = run.session.key, mean_image_mlapdv.locations
        left_out = mean_image_mlapdv.left_out
        records = register_fov(imaging_metadata.imaging, locations, session=key, left_out=left_out)
        normal = update_surgery_json(imaging_metadata.imaging, locations.window.normal, key.subject)
        never = why_never_sent(records)
        return Told(
            "fov_records",
            records.to_json(),
            (
                functools.partial(plan_fovs, records),
                functools.partial(plan_craniotomy, normal, session=str(key)),
            ),
            forbidden=(*([never] if never else []), *forbidden_by_qc(run, _FOVS.upstream).values()),
            metadata=fov_record_metadata(records),
        )

    return told_to_alyx(context, platform, alyx, _FOVS, prepare)


@session_asset(_SNAPSHOTS)
def alyx_snapshots(
    context: dg.AssetExecutionContext, platform: Platform, alyx: Alyx, raw_snapshots: RawFiles
) -> Result:
    """Tell Alyx of the pictures of the session."""
    from meso_core.alyx import AlyxClient, Plan, plan_snapshots, register_snapshots

    def prepare(run: AssetRun) -> Told:
        records = register_snapshots(raw_snapshots.session_path, session=run.session.key)

        def plan(client: AlyxClient) -> Plan:
            return plan_snapshots(records, raw_snapshots.session_path, client)

        return Told("snapshots", records.to_json(), (plan,), metadata={"pictures": len(records.notes)})

    return told_to_alyx(context, platform, alyx, _SNAPSHOTS, prepare)


@session_asset(_DATASETS)
def alyx_datasets(context: dg.AssetExecutionContext, platform: Platform, alyx: Alyx) -> Result:
    """Tell Alyx of the published files."""
    from meso_core.alyx import AlyxClient, Plan, plan_datasets, stage_revisions

    def prepare(run: AssetRun) -> Told:
        own = own_files_of(run.session, run.seen, forbidden_by_qc(run, _DATASETS.upstream))

        def plan(client: AlyxClient) -> Plan:
            today = time.strftime("%Y-%m-%d")
            return plan_datasets(own, client, repository=alyx.repository, today=today)

        def keep_revisions(staging: "Staging", sent: "Sequence[Sent]") -> None:
            earlier = run.standing.manifest.files if run.standing.manifest else ()
            stage_revisions(staging, run.session, own, sent, earlier)

        return Told("datasets", own.to_json(), (plan,), metadata=dataset_metadata(own), more=keep_revisions)

    return told_to_alyx(context, platform, alyx, _DATASETS, prepare)


@session_asset(_SESSION_QC)
def alyx_session_qc(context: dg.AssetExecutionContext, platform: Platform, alyx: Alyx) -> Result:
    """Tell Alyx whether the session is good, check by check."""
    from meso_core.alyx import plan_report_note, plan_session_qc

    def prepare(run: AssetRun) -> Told:
        verdict = verdict_of(run.session, run.seen, run.settings.limits)
        makers = (functools.partial(plan_session_qc, verdict), functools.partial(plan_report_note, verdict))
        return Told("session_qc", verdict.to_json(), makers, metadata={"qc": verdict.qc, "note": verdict.text})

    return told_to_alyx(context, platform, alyx, _SESSION_QC, prepare)
