"""The sensor that carries out what waits for Alyx, when the server is back: oldest first, one run at a time for each.

What belongs here: finding what waits, by the records in the sessions, and asking for runs. What still waits after its
run is asked for again, after a longer and longer time. Whether something is due is looked at again by the run, so that
nothing is sent twice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import dagster as dg

from meso_core.errors import AlyxError, MesoError, told
from meso_core.opening import is_there
from meso_core.session import SessionKey
from meso_core.storage import Session

from ...io.alyx import Alyx
from ...io.resources import Platform
from ...io.session_names import Registered, session_tags
from ...runs.settings.settings import MesoSettings
from ..catalogue import CATALOGUE
from ..jobs import PROCESS_SESSION

_GROUP = "alyx"
#: Tag of the runs that are asked for here: for what, waiting since when.
_WAITS = "meso/waits"
#: Time from a run that left something waiting to the next, s: it doubles with each run.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 60.0, 3600.0


@dataclass(frozen=True, slots=True)
class WaitingAsset:
    """An asset of a session that waits for the server."""

    #: ISO 8601; the oldest is first.
    since: str
    session: str
    asset: str


def waiting_assets(session: Session) -> list[WaitingAsset]:
    """Find what of a session waits for the server."""
    from meso_core.alyx import State, ended, record_path

    names = [name for name, declared in CATALOGUE.items() if declared.group == _GROUP]
    found = []
    for name in names:
        if not is_there(session.path / record_path(name.removeprefix(f"{_GROUP}_"), State.PENDING)):
            continue  # without reading its manifest: there may be thousands
        manifest = session.manifest(name)
        waits = ended(session.path, manifest.files) if manifest is not None else None
        if waits is not None and waits.state is State.PENDING:
            found.append(WaitingAsset(waits.since, str(session.key), name))
    return found


def alyx_comes_back(settings: MesoSettings) -> dg.SensorDefinition:
    """Make the sensor."""

    @dg.sensor(
        name="alyx_comes_back",
        job_name=PROCESS_SESSION,
        minimum_interval_seconds=settings.scan_every_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Asks whether Alyx answers again, where something waits for it (`MESO_ALYX=online`), and runs what waits, "
            "the oldest first."
        ),
    )
    def look(context: dg.SensorEvaluationContext, platform: Platform, alyx: Alyx) -> dg.SensorResult | dg.SkipReason:
        return send_what_waits(context, platform, alyx)

    return look


def send_what_waits(
    context: dg.SensorEvaluationContext, platform: Platform, alyx: Alyx
) -> dg.SensorResult | dg.SkipReason:
    """Ask for runs of what waits, if the server answers."""
    if not alyx.is_online:
        return dg.SkipReason("MESO_ALYX is not online")
    waits = _all_waiting(context, platform)
    if not waits:
        return dg.SkipReason("nothing waits for Alyx")
    try:
        alyx.connect(tries=1).rest("data-repository", "list")
    except (AlyxError, MesoError) as error:
        return dg.SkipReason(f"{len(waits)} wait; {told(error)}")
    by_session: dict[str, list[WaitingAsset]] = {}
    for one in sorted(waits, key=lambda one: (one.since, one.session)):
        by_session.setdefault(one.session, []).append(one)
    registered = Registered.of(context.instance)
    named = ((registered.find(SessionKey.parse(key)), key, some) for key, some in by_session.items())
    asked = (_next_run(context.instance, name, key, some) for name, key, some in named if name is not None)
    return dg.SensorResult(run_requests=[run for run in asked if run is not None][: platform.settings.scan_max_runs])


def _next_run(instance: dg.DagsterInstance, name: str, key: str, some: list[WaitingAsset]) -> dg.RunRequest | None:
    """Make the run for what waits of a session; None where one goes on, or ended a short time ago."""
    since = some[0].since
    ours = dg.RunsFilter(tags={_WAITS: f"{key}:{since}"})
    n_runs = instance.get_runs_count(ours)
    if n_runs:
        last = instance.get_run_records(ours, limit=1)[0]
        pause = min(_FIRST_WAIT_S * 2 ** min(n_runs - 1, 30), _LONGEST_WAIT_S)
        if not last.dagster_run.is_finished or _now() < last.create_timestamp.timestamp() + pause:
            return None
    told = session_tags(SessionKey.parse(key), name)
    return dg.RunRequest(
        run_key=f"alyx:{key}:{since}:{n_runs}",
        partition_key=name,
        asset_selection=[dg.AssetKey(one.asset) for one in some],
        tags={"meso/why": f"Alyx answers again; waiting since {since}", _WAITS: f"{key}:{since}", **told},
    )


def _all_waiting(context: dg.SensorEvaluationContext, platform: Platform) -> list[WaitingAsset]:
    found: list[WaitingAsset] = []
    for key in platform.store.sessions():
        try:
            found += waiting_assets(platform.at(key))
        except (MesoError, OSError) as error:  # the others go on
            context.log.warning(f"{key}: {told(error)}")
    return found


def _now() -> float:
    """Seconds since 1970."""
    return time.time()
