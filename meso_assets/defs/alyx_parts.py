"""What Alyx would be told of a session, outside of a run: for the command line and the audit.

What belongs here: putting plans together from what is published. The assets of group alyx do the same in a run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meso_core.archive.delivered import files_to_read
from meso_core.errors import MesoError
from meso_core.qc import stored_results
from meso_core.session import RawKind
from meso_core.storage import Session

from ..io.alyx import Alyx
from ..io.published import read_located, read_metadata
from .catalogue import CATALOGUE
from .standings import look_at

if TYPE_CHECKING:
    from meso_core.alyx import AlyxClient, AlyxFinding, OwnFiles, Plan

_METADATA, _LOCATED = "imaging_metadata", "mean_image_mlapdv"


@dataclass(frozen=True, slots=True)
class SessionPlans:
    """All that Alyx would be told of a session."""

    plans: tuple[Plan, ...]
    #: Why parts have no plan, in sentences.
    without: tuple[str, ...]
    own: OwnFiles


def session_plans(session: Session, alyx: Alyx, client: AlyxClient) -> SessionPlans:
    """Make the plans of all parts of a session from what is published; nothing is sent.

    Raises
    ------
    AlyxError
        If Alyx does not hold the session, or holds it twice, or cannot be reached.
    """
    from meso_core.alyx import plan_datasets, plan_snapshots, register_snapshots

    plans, without = _fov_plans(session, client)
    seen = look_at(session)
    kinds = [seen.raw[kind] for kind in (RawKind.SNAPSHOTS, RawKind.REFERENCE)]
    session.fetch([path for raw in kinds for path in files_to_read(raw, seen.listing)])
    snapshots = register_snapshots(session.path, session=session.key)
    plans += [plan_snapshots(snapshots, session.path, client)]
    own = own_files_of(session)
    plans += [plan_datasets(own, client, repository=alyx.repository, today=time.strftime("%Y-%m-%d"))]
    return SessionPlans(tuple(plans), tuple(without), own)


def own_files_of(session: Session) -> OwnFiles:
    """Choose the files of a session that are registered, as the gate lets them."""
    from meso_core.alyx import files_to_register, forbidding, override_of

    assets = CATALOGUE["alyx_datasets"].upstream
    refused = {} if override_of(session.path) else forbidding(stored_results(session.path), assets)
    return files_to_register(session, assets, refused, look_at(session).raw[RawKind.REFERENCE].files)


def _fov_plans(session: Session, client: AlyxClient) -> tuple[list[Plan], list[str]]:
    from meso_core.alyx import plan_craniotomy, plan_fovs, register_fov, update_surgery_json, why_never_sent

    made = session.manifests()
    if missing := [name for name in (_METADATA, _LOCATED) if name not in made]:
        return [], [f"fields of view: {', '.join(missing)} not made yet"]
    try:
        imaging = read_metadata(session, made[_METADATA]).imaging
        locations = read_located(session, made[_LOCATED]).locations
        records = register_fov(imaging, locations, session=session.key)
    except MesoError as error:
        return [], [f"fields of view: {error}"]
    if never := why_never_sent(records):
        return [], [f"fields of view: never sent, {never}"]
    plan = plan_fovs(records, client)
    normal = update_surgery_json(imaging, locations.window.normal, session.key.subject)
    return [plan, plan_craniotomy(normal, client, session=str(session.key), eid=plan.eid)], []


def session_findings(session: Session, alyx: Alyx, client: AlyxClient) -> tuple[AlyxFinding, ...]:
    """Compare what the server holds with the session and its records, both ways."""
    from meso_core.alyx import find_session, only_in_alyx, plan_findings

    found = session_plans(session, alyx, client)
    eid = find_session(client, session.key).eid
    paths = [file.path for file in found.own.files]
    return (
        *plan_findings(found.plans, str(session.key)),
        *only_in_alyx(client, eid, session.present().files, paths, alyx.repository),
    )
