"""The chain of manifests: each names the one that it replaced, and those of its inputs.

What belongs here: walking the chain, and what does not fit in it, by itself or against the platform's event log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ..errors import StorageError
from ..storage import Manifest, Session
from ..storage.files.times import CLOCKS_DIFFER_S
from ..storage.manifests.manifest import record_digest
from .findings import Finding, Kind

if TYPE_CHECKING:
    from .audit import Materialization

_FROM_BACKUP = "Bring it back from a backup of .meso/manifests, or accept it (`meso audit --accept WHY --who NAME`)"


@dataclass(frozen=True, slots=True)
class RecordHistory:
    """The manifests of one asset in a session, from the present one back."""

    #: Present one first, as far as the chain leads.
    records: tuple[Manifest, ...]
    #: Digest that the chain names and the history does not hold as it was → what is there instead.
    broken: Mapping[str, str]
    #: Digests in the history that the chain does not name.
    unnamed: tuple[str, ...]
    #: Digests of records that could not be read when they were replaced.
    damaged: tuple[str, ...]

    @property
    def digests(self) -> frozenset[str]:
        """Digests of all records that are as they were written."""
        return frozenset((*(m.digest for m in self.records), *self.unnamed, *self.damaged))


def read_histories(session: Session, made: Mapping[str, Manifest]) -> dict[str, RecordHistory]:
    """Walk the chains of a session's manifests, from the present ones back."""
    kept = session.store.history(session.key)
    return {name: _walk(name, made.get(name), kept.get(name, {})) for name in sorted({*made, *kept})}


def _walk(asset: str, present: Manifest | None, kept: Mapping[str, str]) -> RecordHistory:
    records = [present] if present is not None else []
    left, broken, damaged = dict(kept), {}, []
    for digest, text in kept.items():
        if record_digest(text) != digest:
            broken[digest] = "a file that was changed since"
            del left[digest]
    step = present.chain.previous if present is not None else ""
    while step and step not in broken:
        text = left.pop(step, "")
        if not text:
            broken[step] = "no such file"
            break
        try:
            records.append(Manifest.from_json(text, f"{asset}, {step[:12]}"))
        except StorageError:  # it was set aside as it was; what it replaced is not known
            damaged.append(step)
            break
        step = records[-1].chain.previous
    return RecordHistory(tuple(records), broken, tuple(left), tuple(damaged))


def chain_findings(key: str, made: Mapping[str, Manifest], histories: Mapping[str, RecordHistory]) -> Iterator[Finding]:
    """Find what does not fit in the chains of a session's manifests."""
    for asset, manifest in made.items():
        yield from _own_chain(key, asset, manifest, histories[asset])
        for name, digest in manifest.chain.inputs.items():
            if name not in made:  # told as missing or damaged
                continue
            history = histories[name]
            if digest not in history.digests and digest not in history.broken:
                expected = f"the record {digest[:12]}, from which {asset} was made"
                found = "neither the present record nor a replaced one: it was edited, or its history was removed"
                yield Finding(Kind.EDITED, key, name, "", expected, found, _FROM_BACKUP)
            inputs = [one for one in history.records if one.digest == digest]
            if inputs and _is_before(manifest, inputs[0]):
                expected = f"published after its input {name} ({inputs[0].published_at})"
                yield Finding(Kind.CLOCK, key, asset, "", expected, manifest.published_at, _clock(key, asset))


def _own_chain(key: str, asset: str, manifest: Manifest, history: RecordHistory) -> Iterator[Finding]:
    folder = f".meso/manifests/history/{asset}"
    for digest, found in history.broken.items():
        yield Finding(
            Kind.HISTORY, key, asset, f"{folder}/{digest}.json", "the record that was replaced", found, _FROM_BACKUP
        )
    # a kill after a record was kept, and before the new one counted, leaves it there
    unnamed = [digest for digest in history.unnamed if digest != manifest.digest] if not history.damaged else []
    for digest in unnamed:
        expected = "a chain that leads to this record"
        found = "none does: the present record was edited, or comes from elsewhere"
        yield Finding(Kind.HISTORY, key, asset, f"{folder}/{digest}.json", expected, found, _FROM_BACKUP)
    for newer, older in zip(history.records, history.records[1:], strict=False):
        if _is_before(newer, older):
            expected = f"published after the record that it replaced ({older.published_at})"
            yield Finding(Kind.CLOCK, key, asset, "", expected, newer.published_at, _clock(key, asset))


def event_findings(
    key: str, manifest: Manifest, history: RecordHistory, events: Sequence[Materialization] | None
) -> Iterator[Finding]:
    """Compare a record, and those that it replaced, with the platform's event log.

    Parameters
    ----------
    events
        Newest first; None where no log was asked.
    """
    if events is None:
        return
    asset, run = manifest.asset, manifest.made_by.run_id
    known = [i for i, event in enumerate(events) if _is_of(event, manifest)]
    if not known:
        by_run = [event for event in events if event.run_id == run and event.manifest]
        if by_run:
            expected = f"the record {by_run[0].manifest[:12]} that run {run[:8]} wrote, as Dagster knows it"
            found = f"{manifest.digest[:12]}: it was edited since"
            yield Finding(Kind.EDITED, key, asset, "", expected, found, _FROM_BACKUP)
        else:
            expected = f"an event of run {run[:8]} in Dagster's log"
            found = f"none of this record among {len(events)} of the asset" if events else "none of this asset"
            remedy = f"If you know where it comes from, run `meso run {key} --assets {asset}`: it is registered then"
            yield Finding(Kind.UNREGISTERED, key, asset, "", expected, found, remedy)
        return
    newest = known[0]
    if newest > 0 and events[0].manifest:
        expected = f"the record of run {events[0].run_id[:8]}, the last that Dagster knows"
        found = f"that of run {run[:8]}, published {manifest.published_at}: a backup was restored"
        remedy = f"Bring the newer files back, or run `meso run {key} --assets {asset}`"
        yield Finding(Kind.EARLIER, key, asset, "", expected, found, remedy)
    # of a damaged record, only what it had become is known
    for event in events[newest + 1 :] if not history.damaged else ():
        if event.manifest and event.manifest not in history.digests and event.manifest not in history.broken:
            expected = f"the record {event.manifest[:12]} of run {event.run_id[:8]} among the replaced ones"
            yield Finding(Kind.HISTORY, key, asset, "", expected, "no such record", _FROM_BACKUP)
    recorded = [event.at for event in events if event.run_id == run and _is_of(event, manifest)]
    if recorded and abs(recorded[-1] - _time(manifest).timestamp()) > CLOCKS_DIFFER_S:
        expected = f"published about {datetime.fromtimestamp(recorded[-1]).astimezone().isoformat(timespec='seconds')}"
        expected += ", when Dagster recorded it"
        yield Finding(Kind.CLOCK, key, asset, "", expected, manifest.published_at, _clock(key, asset))


def _is_of(event: Materialization, manifest: Manifest) -> bool:
    """Whether an event is that of a record; those of earlier versions of meso tell the content only."""
    if event.manifest:
        return event.manifest == manifest.digest
    return event.data_version == manifest.data_version


def _is_before(later: Manifest, earlier: Manifest) -> bool:
    """Whether what came later tells an earlier time than the clocks of who made both allow."""
    hosts = later.made_by.host, earlier.made_by.host
    is_one_clock = hosts[0] == hosts[1] or "" in hosts
    return _time(earlier) - _time(later) > timedelta(seconds=0 if is_one_clock else CLOCKS_DIFFER_S)


def _time(manifest: Manifest) -> datetime:
    """When a record was published; one of no readable time comes before all."""
    try:
        told = datetime.fromisoformat(manifest.published_at)
        return told if told.tzinfo else told.astimezone()
    except ValueError:
        return datetime.fromtimestamp(0).astimezone()


def _clock(key: str, asset: str) -> str:
    return f"Set the clock of the machine that made {asset}, then `meso audit {key} --accept WHY --who NAME`"
