"""Sensors: new sessions become partitions, ready ones are run.

What belongs here: looking at the root and asking for runs. When a session counts as ready is decided in ``arrival``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
import yaml

from meso_core.errors import MesoError, MissingInputError
from meso_core.session import SessionKey

from .arrival import DESCRIPTION, arrival
from .dagster_internals import last_observed_version, observation
from .jobs import PROCESS_SESSION
from .partitions import SESSION_PARTITION, known_sessions, session_partitions
from .resources import OpenSession, Platform
from .settings import MesoSettings


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
    if not files:
        return SessionState(str(session.key), session.raw_version(), False, "nothing of the rig there yet")
    judged = arrival(files, now_ns=now_ns, quiet_ns=quiet_ns, description=read_description(session))
    return SessionState(str(session.key), session.raw_version(), judged.ready, judged.reason)


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
    states: list[SessionState], known: set[str], seen: Mapping[str, str | None], max_runs: int
) -> dg.SensorResult:
    """Turn states into partitions to add, observations to record, runs to ask for.

    Parameters
    ----------
    states
        What the look found.
    known
        Partition keys that exist.
    seen
        Session → raw version that Dagster last recorded.
    max_runs
        Most runs to ask for; the rest waits for the next look.
    """
    new = [state.key for state in states if state.key not in known]
    changed = [state for state in states if seen.get(state.key) != state.version]
    ready = [state for state in changed if state.ready][:max_runs]
    runs = [
        dg.RunRequest(
            run_key=state.run_key, partition_key=state.key, tags={"meso/why": state.reason}, job_name=PROCESS_SESSION
        )
        for state in ready
    ]
    return dg.SensorResult(
        run_requests=runs,
        dynamic_partitions_requests=[session_partitions.build_add_request(new)] if new else [],
        asset_events=[observation("raw_session", state.key, state.version) for state in ready],
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
    """Look once at all sessions. A root that cannot be listed skips the tick: it does not mean that there are none."""
    try:
        keys = platform.store.sessions()
    except (MissingInputError, OSError) as error:
        return dg.SkipReason(f"the root could not be listed: {error}")
    instance = context.instance
    states = [state for key in keys if (state := _look_or_tell(context, platform, key)) is not None]
    seen = {state.key: last_observed_version(instance, "raw_session", state.key) for state in states}
    result = requests(states, known_sessions(instance), seen, platform.settings.scan_max_runs)
    for state in states:
        if not state.ready:
            context.log.info(f"{state.key}: {state.reason}")
    return result


def _look_or_tell(context: dg.SensorEvaluationContext, platform: Platform, key: SessionKey) -> SessionState | None:
    """Look at one session; one that cannot be read is told and left for the next look, the others go on."""
    try:
        session = platform.session(str(key))
        return look_at(session, now_ns=time.time_ns(), quiet_ns=int(platform.settings.quiet_minutes * 60e9))
    except (MesoError, OSError) as error:
        context.log.warning(f"{key}: {error}")
        return None


__all__ = ["SESSION_PARTITION", "SessionState", "look_at", "requests", "scan", "sessions_arrive"]
