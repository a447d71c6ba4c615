"""The few places where meso leans on Dagster beyond its stable API, each behind one function.

What belongs here: calls of API in preview or beta, and of internal API, with what they are needed for. pyproject.toml
pins Dagster's minor version for their sake; when Dagster moves, this is the page to read. ``tests/defs`` has a test for
each.
"""

from __future__ import annotations

import json
import socket
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, TypeVar

import dagster as dg

from meso_core.errors import MesoError

from ...io.metadata import MANIFEST_DIGEST
from ...io.session_names import PARTITION_TAG
from ..partitions import session_partitions

T = TypeVar("T")
#: Tags in which Dagster keeps the versions of an event; the names are its own.
_DATA_VERSION, _CODE_VERSION, _RUN_KEY = "dagster/data_version", "dagster/code_version", "dagster/run_key"
#: Events that are asked for at a time.
_PAGE = 100


def partitioned_check_spec(
    name: str, asset: str, description: str, *, reads: tuple[str, ...] = ()
) -> dg.AssetCheckSpec:
    """Declare a check that is evaluated per session (partitioned checks are in preview).

    ``reads`` names further assets that the check looks at, besides its own.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(
            name, asset=asset, description=description, additional_deps=reads, partitions_def=session_partitions
        )


def versioned_output(value: T, version: str, metadata: Mapping[str, Any] | None = None) -> dg.Output[T]:
    """Return a step's value with the content version of the asset (this parameter is in beta)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.Output(value, data_version=dg.DataVersion(version), metadata=dict(metadata or {}))


def observation(
    asset: str, session: str, version: str, *, description: str | None = None, metadata: Mapping[str, Any] | None = None
) -> dg.AssetObservation:
    """Make the event that raw files were seen in a version."""
    return dg.AssetObservation(asset, description, metadata, partition=session, tags={_DATA_VERSION: version})


def brought_back(
    asset: str, session: str, version: str, code_version: str, metadata: Mapping[str, Any]
) -> dg.AssetMaterialization:
    """Make the event that an earlier result of an asset counts again."""
    tags = {_DATA_VERSION: version, _CODE_VERSION: code_version}
    said = "an earlier version was brought back by `meso versions restore`"
    return dg.AssetMaterialization(asset, said, metadata, partition=session, tags=tags)


def last_seen(instance: dg.DagsterInstance, asset: str, session: str) -> str | None:
    """Version in which raw files were last seen, or None."""
    found = instance.fetch_observations(of_session(asset, session), limit=1).records
    event = found[0].asset_observation if found else None
    return None if event is None else (event.tags or {}).get(_DATA_VERSION)


def used_run_keys(instance: dg.DagsterInstance) -> set[str]:
    """All run keys that were ever used, in one query; a key once used never starts a run again."""
    found = instance.run_storage.get_run_tags(tag_keys=[_RUN_KEY])
    return {key for _, keys in found for key in keys}


def sessions_at_work(instance: dg.DagsterInstance) -> set[str]:
    """Partition keys of which a run waits or goes on, whoever has asked for it."""
    ended = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
    going = dg.RunsFilter(statuses=[status for status in dg.DagsterRunStatus if status not in ended])
    return {key for run in instance.get_runs(going) if (key := run.tags.get(PARTITION_TAG))}


def latest_versions(instance: dg.DagsterInstance, asset: str, sessions: Sequence[str]) -> Mapping[str, str]:
    """Session → data version of the last materialisation of an asset, in one query; those without one are left out."""
    found = instance.event_log_storage.get_latest_tags_by_partition(
        dg.AssetKey(asset), dg.DagsterEventType.ASSET_MATERIALIZATION, [_DATA_VERSION], asset_partitions=list(sessions)
    )
    return {session: tags[_DATA_VERSION] for session, tags in found.items() if _DATA_VERSION in tags}


def materializations(instance: dg.DagsterInstance, asset: str, session: str) -> tuple[tuple[str, float, str, str], ...]:
    """All materialisations of an asset in a session, newest first.

    Returns
    -------
    tuple
        Of each: run, s since 1970, data version, digest of the manifest (empty where none was told).
    """
    found = []
    for record in all_records(instance.fetch_materializations, asset, session):
        if (event := record.asset_materialization) is not None:
            told = event.metadata.get(MANIFEST_DIGEST)
            version = (event.tags or {}).get(_DATA_VERSION, "")
            found.append((record.run_id, record.timestamp, version, str(told.value) if told else ""))
    return tuple(found)


def all_records(fetch: Callable[..., Any], asset: str, session: str) -> list[dg.EventLogRecord]:
    """All records of an asset in a session, newest first, page by page, as a method of the instance gives them."""
    found, cursor, more = list[dg.EventLogRecord](), None, True
    while more:
        page = fetch(of_session(asset, session), limit=_PAGE, cursor=cursor)
        cursor, more = page.cursor, page.has_more
        found += page.records
    return found


def of_session(asset: str, session: str) -> dg.AssetRecordsFilter:
    """Choose the records of an asset in a session."""
    return dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[session])


def report_check(context: dg.OpExecutionContext, answer: dg.AssetCheckResult, session: str) -> None:
    """Report the answer of a check of one session from a run that does not make its asset.

    Partitioned checks are in preview. Without a run, Dagster takes one answer of each session, and no second one.
    """
    assert answer.asset_key is not None
    assert answer.check_name is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        evaluation = dg.AssetCheckEvaluation(
            answer.asset_key,
            answer.check_name,
            answer.passed,
            metadata=answer.metadata,
            severity=answer.severity,
            description=answer.description,
            partition=session,
        )
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION.value
    event = dg.DagsterEvent(kind, context.job_name, event_specific_data=evaluation)
    context.instance.report_dagster_event(event, context.run_id)


def end_of_steps(instance: dg.DagsterInstance, run_id: str) -> Iterable[dg.DagsterEvent]:
    """Events of a run that say that a step failed or succeeded, in order."""
    wanted = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.STEP_SUCCESS}
    for record in instance.get_records_for_run(run_id, of_type=wanted).records:
        if record.event_log_entry.dagster_event is not None:
            yield record.event_log_entry.dagster_event


def failed_checks(instance: dg.DagsterInstance, run_id: str, check: str) -> dict[str, str]:
    """Find the assets of a run of which a check did not pass, and what it says."""
    found: dict[str, str] = {}
    for record in instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records:
        event = record.event_log_entry.dagster_event
        told = event.asset_check_evaluation_data if event is not None else None
        if told is not None and told.check_name == check and not told.passed:
            found[told.asset_key.path[-1]] = told.description or check
    return found


#: Newest events of a run in which what its steps told last is looked for.
_LAST_EVENTS = 300


def last_messages(instance: dg.DagsterInstance, run_id: str, steps: Collection[str]) -> dict[str, str]:
    """Find what each of these steps of a run logged last, of what tells the share of its work that is done."""
    found: dict[str, str] = {}
    for record in instance.get_records_for_run(run_id, ascending=False, limit=_LAST_EVENTS).records:
        entry = record.event_log_entry
        if entry.step_key in steps and entry.dagster_event is None and "%)" in entry.user_message:
            found.setdefault(entry.step_key or "", entry.user_message)
    return found


def set_pool_size(instance: dg.DagsterInstance, pool: str, size: int) -> None:
    """Say how many steps of a pool run at a time."""
    instance.event_log_storage.set_concurrency_slots(pool, size)


@dataclass(frozen=True, slots=True)
class HeldPlace:
    """A place in a pool that a step holds."""

    run_id: str
    step: str
    #: s since 1970.
    since: float


def places_of(instance: dg.DagsterInstance, pool: str) -> list[HeldPlace]:
    """Tell which steps hold the places of a pool, those that were just given one included."""
    steps = instance.event_log_storage.get_concurrency_info(pool).pending_steps
    return [HeldPlace(s.run_id, s.step_key, s.assigned_timestamp.timestamp()) for s in steps if s.assigned_timestamp]


def holders_of_places(instance: dg.DagsterInstance) -> set[str]:
    """Find the runs that hold a place in any pool, or wait for one."""
    return set(instance.event_log_storage.get_concurrency_run_ids())


def free_places(instance: dg.DagsterInstance, run_id: str) -> None:
    """Give back all places that a run holds; steps that wait get them."""
    instance.event_log_storage.free_concurrency_slots_for_run(run_id)


#: Between two questions for a place in a pool, s; and how long a run sleeps that does nothing but wait.
_ASK_EVERY_S, _NAP_S = 2.0, 0.5


@contextmanager
def watched_claims(
    instance: dg.DagsterInstance, busy: Callable[[], bool], waiting: Callable[[str], None]
) -> Iterator[None]:
    """Hear of it when a step of this process's run waits for a place in a pool, and let the run sleep meanwhile.

    Dagster tells of it once in five minutes, and its executors ask again without a pause when no other step is at work.

    Parameters
    ----------
    instance
        Instance of the run.
    busy
        Whether other steps of the run are at work: then their events come in, and the run must not sleep.
    waiting
        Called with the name of the pool each time that there was no place.
    """
    storage = instance.event_log_storage
    claim, napped = storage.claim_concurrency_slot, 0.0

    def watched(concurrency_key: str, run_id: str, step_key: str, priority: int | None = None) -> Any:  # noqa: ANN401  Dagster's
        nonlocal napped
        status = claim(concurrency_key, run_id, step_key, priority)
        if status.is_claimed:
            return status
        waiting(concurrency_key)
        if busy():
            return status.with_sleep_interval(_ASK_EVERY_S)
        if monotonic() - napped > _NAP_S / 10:  # once per round, however many steps wait
            sleep(_NAP_S)
            napped = monotonic()
        return status.with_sleep_interval(0.0)

    storage.claim_concurrency_slot = watched  # type: ignore[method-assign]
    try:
        yield
    finally:
        del storage.claim_concurrency_slot  # the method of its class again


def records_are_of_this_machine(instance: dg.DagsterInstance) -> bool:
    """Whether no other machine has these records: Dagster alone keeps files, and packages beside it ask a server."""
    return type(instance.run_storage).__module__.partition(".")[0] == "dagster"


#: Tag in which Dagster keeps the address of the server that starts a run; the name is its own.
_SERVER = ".dagster/grpc_info"
_LISTENS_WITHIN_S = 2.0


def server_is_gone(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether nobody listens any more where the server was that starts a run, on this machine.

    Dagster does not tell of a run that is being started which process it is, only who starts it. A run that repeats
    another one has that one's server in its tags at first.
    """
    repeated = instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
    if repeated is not None and repeated.tags.get(_SERVER) == run.tags.get(_SERVER):
        return False
    try:
        told = json.loads(run.tags.get(_SERVER, ""))
        host, port, path = told.get("host"), told.get("port"), told.get("socket")
    except (ValueError, AttributeError):
        return False
    if host not in ("localhost", "127.0.0.1"):
        return False
    with socket.socket(socket.AF_UNIX if path else socket.AF_INET) as asking:
        asking.settimeout(_LISTENS_WITHIN_S)
        try:
            asking.connect(path or (host, port))
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except (OSError, TypeError, OverflowError):
            return False
    return False


def last_sign_of_life(instance: dg.DagsterInstance, run_id: str) -> float | None:
    """Time of the last thing that a run told, s since 1970."""
    last = instance.get_records_for_run(run_id, ascending=False, limit=1).records
    return float(last[0].event_log_entry.timestamp) if last else None


def last_words(instance: dg.DagsterInstance, run_id: str) -> str:
    """Return what a run told that failed outside of its steps."""
    found = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.RUN_FAILURE, ascending=False, limit=1)
    events = [record.event_log_entry for record in found.records]
    return str(events[0].dagster_event.message) if events and events[0].dagster_event else "no reason recorded"


_OWN_ERRORS = f"{MesoError.__module__}."
#: What Dagster puts before the reason of an engine why a step is lost.
_LOST = "failed health check: "
_INTERRUPTED = "DagsterExecutionInterruptedError"
#: Why a step has failed that somebody stopped.
STOPPED = "interrupted: somebody stopped the run; run it again, and it goes on where it was"


def was_stopped(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run that failed was stopped by somebody, as with Ctrl-C, in a step or between two."""
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.RUN_FAILURE).records
    events = (record.event_log_entry.dagster_event for record in records)
    told = (event.job_failure_data for event in events if event is not None)
    errors = (data.error for data in told if data is not None)  # none where the monitor ended the run
    return any(error is not None and error.cls_name == _INTERRUPTED for error in errors)


def is_told_by_the_leader(event: dg.DagsterEvent) -> bool:
    """Whether the end of a step was written down by the process that leads its run, and not by the step."""
    if event.event_type_value == "STEP_SKIPPED":
        return True
    error = event.step_failure_data.error if event.event_type_value == "STEP_FAILURE" else None
    return error is not None and _LOST in error.message


def failure_message(event: dg.DagsterEvent) -> str:
    """Message of a step failure: what ``meso_core`` said, without Dagster's frame around it."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    if error is not None and error.cls_name == _INTERRUPTED:
        return STOPPED
    while error is not None and error.cause is not None and not error.message.startswith(_OWN_ERRORS):
        error = error.cause  # an error of meso says more than what led to it
    if error is not None and _LOST in error.message:  # an engine says why
        return str(error.message).partition(_LOST)[2].strip()
    if error is not None and error.cls_name == "ChildProcessCrashException":
        return "the process of this step was killed (out of memory, most often): free memory, then run it again"
    return str(error.message).removeprefix(_OWN_ERRORS).strip() if error is not None else "no reason recorded"


@dataclass(frozen=True, slots=True)
class StepTimes:
    """When a step of a run started and ended, and whether it failed."""

    step: str
    #: s since 1970; None for a step that did not get so far.
    start: float | None
    end: float | None
    failed: bool


def times_of_steps(instance: dg.DagsterInstance, run_id: str) -> tuple[StepTimes, ...]:
    """Sum up the steps of a run."""
    stats = instance.get_run_step_stats(run_id)
    return tuple(
        StepTimes(s.step_key, s.start_time, s.end_time, s.status is not None and s.status.value == "FAILURE")
        for s in stats
    )


def asset_of_step(step_key: str) -> str:
    """Asset that a step belongs to: ``rois.find_rois[FOV_00]`` belongs to ``rois``."""
    return step_key.split(".")[0].split("[")[0]


def layouts_are_current(instance: dg.DagsterInstance) -> bool:
    """Whether the tables of all records are laid out as this version of Dagster wants them."""
    storages = (instance.run_storage, instance.event_log_storage, instance.schedule_storage)
    versions = [storage.alembic_version() for storage in storages if storage is not None]
    return all(version is None or version[0] == version[1] for version in versions)


def preloaded_first(module: str) -> list[str]:
    """Let a run's fork server import a module before Dagster, which puts its executor first where it is not named."""
    return [module, f"{dg.Executor.__module__.rpartition('.')[0]}.multiprocess"]
