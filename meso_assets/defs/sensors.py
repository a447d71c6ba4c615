"""Sensors: new sessions become partitions, ready ones are run.

What belongs here: looking at the root and asking for runs. When a session counts as ready is decided in ``arrival``.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import yaml

from meso_core.errors import MesoError, MissingInputError
from meso_core.session.arrival import DESCRIPTION, arrival
from meso_core.storage import listing_version

from ..io.raw_inputs import read_by
from ..io.resources import OpenSession, Platform
from ..runs.settings import MesoSettings
from .dagster_internals import observation
from .jobs import PROCESS_SESSION
from .partitions import known_sessions, session_partitions

#: A tick may take a minute; listing goes on in the next one after this time, s.
_SECONDS_OF_A_LOOK = 30.0


@dataclass(frozen=True, slots=True)
class SessionState:
    """What one look found out about a session."""

    key: str
    version: str
    ready: bool
    reason: str

    @property
    def run_key(self) -> str:
        """Key of the run that this state asks for: a key once used never runs again, so it carries the state."""
        return f"{self.key}:{self.version[:16]}"


def look_at(session: OpenSession, *, now_ns: int, quiet_ns: int) -> SessionState:
    """List a session and judge whether it is ready."""
    files = session.raw_files()
    version = listing_version(read_by(None, files))
    if not files:
        return SessionState(str(session.key), version, False, "nothing of the rig there yet")
    judged = arrival(files, now_ns=now_ns, quiet_ns=quiet_ns, description=read_description(session))
    return SessionState(str(session.key), version, judged.ready, judged.reason)


def read_description(session: OpenSession) -> Mapping[str, Any] | None:
    """Read ``_ibl_experiment.description.yaml``; None where there is none.

    Raises
    ------
    MissingInputError
        If it is there but not readable: then what it promises is not known.
    """
    file = session.path / DESCRIPTION
    if not file.is_file():
        return None
    try:
        content = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MissingInputError(f"{file}: expected YAML, found {error}. Copy the file again from the rig.") from error
    return content if isinstance(content, dict) else None


def requests(
    states: Sequence[SessionState], known: Collection[str], asked: Collection[str], max_runs: int
) -> dg.SensorResult:
    """Turn states into partitions to add, observations to record, runs to ask for.

    Parameters
    ----------
    states
        What the look found.
    known
        Partition keys that exist.
    asked
        Run keys that were used, or whose state is processed already.
    max_runs
        Most runs to ask for; the rest waits for the next look.
    """
    new = [state.key for state in states if state.key not in known]
    due = [state for state in states if state.ready and state.run_key not in asked][:max_runs]
    runs = [
        dg.RunRequest(run_key=state.run_key, partition_key=state.key, tags={"meso/why": state.reason}) for state in due
    ]
    return dg.SensorResult(
        run_requests=runs,
        dynamic_partitions_requests=[session_partitions.build_add_request(new)] if new else [],
        asset_events=[observation("raw_session", state.key, state.version) for state in due],
    )


def sessions_arrive(settings: MesoSettings) -> dg.SensorDefinition:
    """Make the sensor that watches the root."""

    @dg.sensor(
        name="sessions_arrive",
        job_name=PROCESS_SESSION,
        minimum_interval_seconds=settings.scan_every_s,
        description=(
            "Looks for session folders below `MESO_ROOT`. New ones become partitions; those that are ready "
            "(flag, or whole and quiet) are processed, and processed again when their raw files change."
        ),
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return scan(context, Platform.open(settings))

    return look


def scan(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
    """Look at the sessions, as many as the time of a tick allows; the next tick goes on behind the last.

    A root that cannot be listed skips the tick: it does not mean that there are no sessions.
    """
    try:
        keys = [str(key) for key in platform.store.sessions()]
    except (MesoError, OSError) as error:
        return dg.SkipReason(f"the root could not be listed: {error}")
    states: list[SessionState] = []
    until = time.monotonic() + _SECONDS_OF_A_LOOK
    last = context.cursor
    for key in in_turn(keys, last):
        if time.monotonic() > until:
            break
        last = key
        if (state := _look_or_tell(context, platform, key)) is not None:
            states.append(state)
    ready = [state for state in states if state.ready]
    asked = {state.run_key for state in ready if _was_asked(context.instance, platform, state)}
    result = requests(states, known_sessions(context.instance), asked, platform.settings.scan_max_runs)
    return result._replace(cursor=last)


def in_turn(keys: Sequence[str], last: str | None) -> list[str]:
    """Order sessions so that the look goes on behind the one it ended with."""
    behind = [key for key in keys if last is not None and key > last]
    return [*behind, *(key for key in keys if last is None or key <= last)]


def _was_asked(instance: dg.DagsterInstance, platform: Platform, state: SessionState) -> bool:
    """Whether a run was asked for in this state of the session, or somebody processed it by hand."""
    if is_processed(platform.session(state.key)):
        return True
    return instance.get_runs_count(dg.RunsFilter(tags={"dagster/run_key": state.run_key})) > 0


def is_processed(session: OpenSession) -> bool:
    """Whether every asset that finds raw files to read was made from them as they are now."""
    versions = session.raw_versions()
    made = {asset: manifest for asset in versions if (manifest := session.manifest(asset)) is not None}
    return bool(versions) and all(
        asset in made and made[asset].provenance.inputs.get("raw_session") == version
        for asset, version in versions.items()
    )


def _look_or_tell(context: dg.SensorEvaluationContext, platform: Platform, key: str) -> SessionState | None:
    """Look at one session; one that cannot be read is told and left for the next look, the others go on."""
    try:
        state = look_at(
            platform.session(key), now_ns=time.time_ns(), quiet_ns=int(platform.settings.quiet_minutes * 60e9)
        )
    except (MesoError, OSError) as error:
        context.log.warning(f"{key}: {error}")
        return None
    if not state.ready:
        context.log.info(f"{key}: {state.reason}")
    return state
