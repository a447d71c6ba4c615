"""What Alyx would be told of a session, outside of a run: for the command line and the audit.

What belongs here: putting plans together from what is published. The assets of group alyx do the same in a run.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meso_core.archive.delivered import files_to_read
from meso_core.errors import MesoError
from meso_core.qc import Limits, qc_path
from meso_core.session import RawKind
from meso_core.storage import Session

from ...io.alyx import Alyx
from ...io.published import read_located, read_metadata
from ..catalogue import CATALOGUE
from ..standing.standings import SessionView, look_at
from .gate import withheld_by_qc

if TYPE_CHECKING:
    from meso_core.alyx import AlyxClient, AlyxFinding, OwnFiles, Plan, SessionVerdict

_METADATA, _LOCATED = "imaging_metadata", "mean_image_mlapdv"
_FOVS, _SNAPSHOTS, _DATASETS, _SESSION_QC = "alyx_fov_records", "alyx_snapshots", "alyx_datasets", "alyx_session_qc"
#: Pictures of the note with the report, the best first, each with the asset that publishes it.
_PICTURES = (
    (_LOCATED, "reports/figures/fovs_dorsal.png"),
    ("rois", "reports/figures/FOV_00_rois.png"),
    ("frame_times", "reports/figures/frame_times.png"),
)


@dataclass(frozen=True, slots=True)
class SessionPlans:
    """All that Alyx would be told of a session."""

    plans: tuple[Plan, ...]
    #: Why parts have no plan, in sentences.
    without: tuple[str, ...]
    #: What may not be sent and why, in sentences.
    withheld: tuple[str, ...]
    own: OwnFiles


def session_plans(session: Session, alyx: Alyx, client: AlyxClient) -> SessionPlans:
    """Make the plans of all parts of a session from what is published; nothing is sent.

    Raises
    ------
    AlyxError
        If Alyx does not hold the session, or holds it twice, or cannot be reached.
    """
    from meso_core.alyx import plan_datasets, plan_report_note, plan_session_qc, plan_snapshots, register_snapshots

    fovs = _fov_plans(session, client, alyx.limits)
    seen = look_at(session)
    kinds = [seen.raw[kind] for kind in (RawKind.SNAPSHOTS, RawKind.REFERENCE)]
    session.fetch([path for raw in kinds for path in files_to_read(raw, seen.listing)])
    snapshots = register_snapshots(session.path, session=session.key)
    own = own_files_of(session, seen, withheld_by_qc(session, CATALOGUE[_DATASETS].upstream, alyx.limits).why)
    verdict = verdict_of(session, seen, alyx.limits)
    plans = (
        *fovs.plans,
        plan_snapshots(snapshots, session.path, client),
        plan_session_qc(verdict, client),
        plan_report_note(verdict, client),
        plan_datasets(own, client, repository=alyx.repository, today=time.strftime("%Y-%m-%d")),
    )
    withheld = (*fovs.withheld, *(f"files of {asset}: {why}" for asset, why in own.withheld.items()))
    return SessionPlans(plans, fovs.without, withheld, own)


def own_files_of(session: Session, seen: SessionView, refused: Mapping[str, str]) -> OwnFiles:
    """Choose the files of a session that are registered; ``refused`` tells of which assets none may be, and why."""
    from meso_core.alyx import files_to_register

    return files_to_register(session, CATALOGUE[_DATASETS].upstream, refused, seen.raw[RawKind.REFERENCE].files)


def verdict_of(session: Session, seen: SessionView, limits: Limits) -> SessionVerdict:
    """Put together what Alyx is told of the quality of a session; nothing of what was made with the phantom."""
    from meso_core.alyx import of_phantom, session_verdict
    from meso_core.qc import read_results
    from meso_core.review import SessionQuality

    upstream = [name for name in CATALOGUE[_SESSION_QC].upstream if name in seen.made]
    there = [qc_path(name) for name in upstream if qc_path(name) in seen.present.files]
    folder = session.fetch(there)
    results = {name: read_results(folder, name, limits) for name in upstream if qc_path(name) in there}
    phantom = of_phantom(seen.made[name] for name in upstream)
    return session_verdict(
        SessionQuality(results, seen.people.verdicts),
        {name: made.data_version for name, made in seen.made.items()},
        session.key,
        unsaid=phantom,
        picture=_picture(session, seen, {*phantom, *withheld_by_qc(session, upstream, limits).why}),
    )


def _picture(session: Session, seen: SessionView, refused: Collection[str]) -> tuple[str, str]:
    """Choose the picture of the note: path and SHA-256; nothing where none may be sent."""
    for asset, path in _PICTURES:
        files = seen.made[asset].files if asset in seen.made and asset not in refused else ()
        found = next((file for file in files if file.path == path and not seen.present.wrong_with(file)), None)
        if found is not None:
            session.fetch([path])
            return path, found.sha256
    return "", ""


@dataclass(frozen=True, slots=True)
class _FovPlans:
    plans: tuple[Plan, ...] = ()
    without: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()


def _fov_plans(session: Session, client: AlyxClient, limits: Limits) -> _FovPlans:
    from meso_core.alyx import plan_craniotomy, plan_fovs, register_fov, update_surgery_json, why_never_sent

    made = session.manifests()
    if missing := [name for name in (_METADATA, _LOCATED) if name not in made]:
        return _FovPlans(without=(f"fields of view: {', '.join(missing)} not made yet",))
    try:
        imaging = read_metadata(session, made[_METADATA]).imaging
        located = read_located(session, made[_LOCATED])
        records = register_fov(imaging, located.locations, session=session.key, left_out=located.left_out)
    except MesoError as error:
        return _FovPlans(without=(f"fields of view: {error}",))
    never = why_never_sent(records)
    stays = [*([never] if never else []), *withheld_by_qc(session, CATALOGUE[_FOVS].upstream, limits).why.values()]
    if stays:
        return _FovPlans(withheld=tuple(f"fields of view: {why}" for why in stays))
    plan = plan_fovs(records, client)
    normal = update_surgery_json(imaging, located.locations.window.normal, session.key.subject)
    return _FovPlans((plan, plan_craniotomy(normal, client, session=str(session.key), eid=plan.eid)))


def session_findings(session: Session, alyx: Alyx, client: AlyxClient) -> tuple[AlyxFinding, ...]:
    """Compare what the server holds with the session and its records, both ways; what is not compared is told."""
    from meso_core.alyx import AlyxFinding, Part, Reason, only_in_alyx, plan_findings

    found, key = session_plans(session, alyx, client), str(session.key)
    assets = {
        Part.FOVS: _FOVS, Part.CRANIOTOMY: _FOVS, Part.SNAPSHOTS: _SNAPSHOTS, Part.DATASETS: _DATASETS,
        Part.SESSION_QC: _SESSION_QC, Part.REPORT_NOTE: _SESSION_QC,
    }  # fmt: skip
    paths = [file.path for file in found.own.files]
    return (
        *(AlyxFinding(Reason.NOT_COMPARED, "session", key, why) for why in found.without),
        *plan_findings(found.plans, key, assets),
        *only_in_alyx(client, found.plans[-1].eid, session.present().files, paths, alyx.repository),
        *(AlyxFinding(Reason.WITHHELD, "session", key, why) for why in found.withheld),
    )
