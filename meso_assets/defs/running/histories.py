"""The history of a partition told again under another key: nothing is lost, and nothing becomes stale by it.

What belongs here: copying materialisations, observations and answers of checks, each with its run, its time, its
versions and what it told. Events name others by their number in the records (what was read, what was checked): the
copies name the copies. Asking for all answers of a check is no public API of Dagster's, as in ``dagster_internals``.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import dagster as dg

from ..dagster_internals import all_records, of_session

#: What tells an event from all others of a partition: its kind, its asset (and check), its run and its time.
_Mark: TypeAlias = tuple[str, str, str, float]
#: Asset → number of each of its events → number of the copy.
_Numbers: TypeAlias = Mapping[str, Mapping[int, int]]
_PAGE = 200
#: Tag of an event that numbers the event of an input that was read; the name is Dagster's.
_INPUT_NUMBER = "dagster/input_event_pointer/"


def copy_history(instance: dg.DagsterInstance, checks: Iterable[tuple[str, str]], old: str, new: str) -> int:
    """Tell the events of a partition again under another key, those that are not there yet.

    Parameters
    ----------
    instance
        Dagster's records.
    checks
        Asset and name of each check.
    old, new
        Keys of the partition.

    Returns
    -------
    int
        Number of events that were copied.
    """
    numbers, n_copied = _copy_events(instance, old, new)
    for asset, name in checks:
        if not (answers := check_answers(instance, asset, name, old)):
            continue
        there = {_mark(entry, name) for entry in check_answers(instance, asset, name, new)}
        for entry in answers:
            if _mark(entry, name) not in there:
                _tell(instance, entry, _moved_answer(entry, new, numbers))
                n_copied += 1
    return n_copied


def check_answers(instance: dg.DagsterInstance, asset: str, check: str, session: str) -> list[dg.EventLogEntry]:
    """All answers of a check in a session, oldest first; evaluations that came to none are left out."""
    # this class is beside a public one
    chosen = sys.modules[dg.EventRecordsFilter.__module__].PartitionKeyFilter(key=session)
    key, found, cursor, more = dg.AssetCheckKey(dg.AssetKey(asset), check), list[dg.EventLogEntry](), None, True
    while more:
        page = instance.event_log_storage.get_asset_check_execution_history(
            key, limit=_PAGE, cursor=cursor, partition_filter=chosen
        )
        more = len(page) == _PAGE
        cursor = page[-1].id if page else None
        found += [one.event for one in page if one.event is not None]
    answered = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    return [one for one in reversed(found) if one.dagster_event and one.dagster_event.event_type is answered]


def _copy_events(instance: dg.DagsterInstance, old: str, new: str) -> tuple[_Numbers, int]:
    """Copy materialisations and observations, oldest first; returns the numbers of the copies, and how many are new."""
    earlier, there = list[dg.EventLogRecord](), dict[_Mark, int]()
    for asset in (key.path[-1] for key in instance.get_asset_keys()):
        for fetch in (instance.fetch_materializations, instance.fetch_observations):
            if found := all_records(fetch, asset, old):
                earlier += found
                there |= {_mark(one.event_log_entry): one.storage_id for one in all_records(fetch, asset, new)}
    numbers, n_copied = dict[str, dict[int, int]](), 0
    for record in sorted(earlier, key=lambda one: one.storage_id):
        entry = record.event_log_entry
        mark = _mark(entry)
        if mark not in there:
            _tell(instance, entry, _moved_event(entry, new, numbers))
            newest = _fetched(instance, mark[0])(of_session(mark[1], new), limit=1).records[0]
            there[mark] = newest.storage_id
            n_copied += 1
        numbers.setdefault(mark[1], {})[record.storage_id] = there[mark]
    return numbers, n_copied


def _fetched(instance: dg.DagsterInstance, kind: str) -> Callable[..., Any]:
    is_observation = kind == dg.DagsterEventType.ASSET_OBSERVATION.value
    return instance.fetch_observations if is_observation else instance.fetch_materializations


def _mark(entry: dg.EventLogEntry, check: str = "") -> _Mark:
    event = entry.dagster_event
    assert event is not None
    about = check or (event.asset_key.path[-1] if event.asset_key else "")
    return event.event_type_value, about, entry.run_id, entry.timestamp


def _tell(instance: dg.DagsterInstance, entry: dg.EventLogEntry, event: dg.DagsterEvent) -> None:
    instance.report_dagster_event(event, entry.run_id, entry.level, timestamp=entry.timestamp)


def _moved_event(entry: dg.EventLogEntry, session: str, numbers: _Numbers) -> dg.DagsterEvent:
    """Make the event of a materialisation or observation anew for another partition.

    Parameters
    ----------
    entry
        The event as it is in the log.
    session
        Key of the other partition.
    numbers
        Numbers of the events that were copied already.
    """
    event, told = entry.dagster_event, entry.asset_materialization or entry.asset_observation
    assert event is not None
    assert told is not None
    tags = {name: _moved(name, text, numbers) for name, text in (told.tags or {}).items()}
    told = told._replace(partition=session, tags=tags)
    data: Any = event.event_specific_data
    which = "materialization" if entry.asset_materialization else "asset_observation"
    return event._replace(event_specific_data=data._replace(**{which: told}))


def _moved(tag: str, text: str, numbers: _Numbers) -> str:
    if not tag.startswith(_INPUT_NUMBER) or not text.isdecimal():
        return text
    return str(_copied(int(text), numbers.get(tag.removeprefix(_INPUT_NUMBER), {})))


def _copied(number: int, numbers: Mapping[int, int]) -> int:
    """Find the number of the copy of an asset's last event up to a number, which may be one of another partition."""
    last = max((old for old in numbers if old <= number), default=None)
    return number if last is None else numbers[last]


def _moved_answer(entry: dg.EventLogEntry, session: str, numbers: _Numbers) -> dg.DagsterEvent:
    """Make the event of a check's answer anew for another partition; parameters as for :func:`_moved_event`."""
    event = entry.dagster_event
    assert event is not None
    answer = event.event_specific_data
    assert isinstance(answer, dg.AssetCheckEvaluation)
    about = answer.target_materialization_data
    if about is not None:
        number = _copied(about.storage_id, numbers.get(answer.asset_key.path[-1], {}))
        about = type(about)(storage_id=number, run_id=about.run_id, timestamp=about.timestamp)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        moved = dg.AssetCheckEvaluation(
            answer.asset_key,
            answer.check_name,
            answer.passed,
            answer.metadata,
            about,
            answer.severity,
            answer.description,
            answer.blocking,
            session,
        )
    return event._replace(event_specific_data=moved)
