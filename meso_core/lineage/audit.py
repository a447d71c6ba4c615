"""The audit of one session: disk, manifests and the platform's event log, compared.

What belongs here: the questions, and the findings that answer them. Which assets there are, how they stand and what the
event log holds is handed in; whether a result is current is decided in ``storage.manifests.currency`` alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ..errors import StorageError
from ..progress import Progress, silent
from ..session import RAW_PREFIXES, ListedFile
from ..storage import Cause, FileRecord, Manifest, Session, Standing
from .chain import RecordHistory, chain_findings, event_findings, read_histories
from .content import changed_files
from .findings import AuditVerdict, Finding, Kind

#: Kind of a result that would come out otherwise now → what it should be.
_EXPECTED = {
    Kind.STALE: "made from what there is now",
    Kind.OTHER_CODE: "made as it would be made now",
    Kind.OTHER_SETTINGS: "made with the settings of now",
}


@dataclass(frozen=True, slots=True)
class Materialization:
    """One materialisation that the platform's event log holds."""

    #: Empty where the log was asked for versions alone.
    run_id: str
    #: s since 1970.
    at: float
    data_version: str
    #: Digest of the manifest; empty in events of earlier versions of meso.
    manifest: str = ""


@dataclass(frozen=True, slots=True)
class AuditedAsset:
    """What the platform knows of one asset of a session."""

    name: str
    #: Regular expression of the paths at which it publishes.
    places: str
    standing: Standing
    #: Newest first; None where no event log was asked.
    events: tuple[Materialization, ...] | None = None
    #: Run that is making it now; empty where none is.
    running: str = ""
    #: Where it was made with other settings: what a person sets so that it counts as it is; empty where nothing helps.
    to_keep: str = ""


def audit_session(
    session: Session,
    assets: Sequence[AuditedAsset],
    listing: Sequence[ListedFile],
    delivered: Collection[str],
    *,
    deep: bool = False,
    threads: int = 1,
    progress: Progress = silent,
) -> AuditVerdict:
    """Compare what is on disk with what was recorded.

    Parameters
    ----------
    session
        The session.
    assets
        All declared assets, in an order in which those that are read come first.
    listing
        All files of the session but the platform's own records.
    delivered
        Paths of the files that the rig delivered.
    deep
        Compare the content of every published file; otherwise sizes and times.
    threads
        Files that are read side by side.
    progress
        Called with the bytes that were read.

    Returns
    -------
    AuditVerdict
        Its findings name everything that is not as it was recorded.
    """
    key = str(session.key)
    made = {asset.name: m for asset in assets if (m := asset.standing.manifest) is not None}
    lacking = {asset.name for asset in assets} - set(made)
    published = session.store.published(session.key) if lacking else ()
    histories = read_histories(session, made)
    idle = [asset for asset in assets if not asset.running]
    findings = [_running(key, asset) for asset in assets if asset.running]
    for asset in idle:
        manifest = made.get(asset.name)
        if manifest is None:
            findings += _without_record(session, asset, asset.name in published)
            continue
        if others := list(_of_other_session(key, manifest)):  # then Dagster's log has nothing of it
            findings += others
        else:
            findings += event_findings(key, manifest, histories[asset.name], asset.events)
        findings += _stale(key, asset, made, histories)
    findings += chain_findings(key, {asset.name: made[asset.name] for asset in idle if asset.name in made}, histories)
    compared = [(asset.standing, made[asset.name]) for asset in idle if asset.name in made]
    present = session.present(listing)
    changed, bytes_read = changed_files(
        session, present, compared, histories, deep=deep, threads=threads, progress=progress
    )
    findings += changed
    findings += _strangers(key, assets, made, listing, frozenset(delivered))
    return AuditVerdict(
        key,
        tuple(sorted(dict.fromkeys(findings), key=lambda finding: not finding.is_fault)),
        deep,
        datetime.now(UTC).isoformat(timespec="seconds"),
        len(made),
        sum(len(manifest.files) for manifest in made.values()),
        bytes_read,
    )


def _running(key: str, asset: AuditedAsset) -> Finding:
    return Finding(
        Kind.RUNNING, key, asset.name, "", "no run", f"run {asset.running[:8]} at work", "Audit again when it has ended"
    )


def _without_record(session: Session, asset: AuditedAsset, published: bool) -> Iterator[Finding]:
    key, again = str(session.key), _again(str(session.key), asset.name)
    if published:
        try:
            session.manifest(asset.name)
        except StorageError as error:
            yield Finding(Kind.DAMAGED, key, asset.name, "", "a readable record", str(error).rstrip("."), again)
    elif asset.events:
        last, file = asset.events[0], f".meso/manifests/{asset.name}.json"
        # a quick audit is told the content of the last version, not the run that made it
        whose = f"of run {last.run_id[:8]}" if last.run_id else f"of version {last.data_version[:12]}"
        expected = f"the record {whose} that Dagster knows, {file}"
        remedy = "Bring it back from a backup of .meso/manifests; without one, move the files that are left of "
        remedy += f"{asset.name} out of the session, and run {_command(key, asset.name)}"
        yield Finding(Kind.MISSING, key, asset.name, "", expected, "no such file", remedy)


def _of_other_session(key: str, manifest: Manifest) -> Iterator[Finding]:
    if manifest.session not in ("", key):
        remedy = "Give the folder its name back, or remove its .meso/manifests and run the session anew"
        found = f"that of {manifest.session}: the folder was renamed or copied"
        yield Finding(Kind.OTHER_SESSION, key, manifest.asset, "", "a record of this session", found, remedy)


def _stale(
    key: str, asset: AuditedAsset, made: Mapping[str, Manifest], histories: Mapping[str, RecordHistory]
) -> Iterator[Finding]:
    standing = asset.standing
    if not standing.differing or standing.manifest is None:
        return
    kind, remedy = Kind.OTHER_CODE, _again(key, asset.name)
    if Cause.INPUTS in standing.causes:
        kind = Kind.STALE
    elif standing.changed_settings:
        kind, remedy = Kind.OTHER_SETTINGS, "; or, ".join(filter(None, (remedy, asset.to_keep)))
    details = _changed_facts(standing.manifest, standing, made, histories)
    found = "; ".join((*standing.differing, *details))
    yield Finding(kind, key, asset.name, "", _EXPECTED[kind], found, remedy)


def _changed_facts(
    manifest: Manifest, standing: Standing, made: Mapping[str, Manifest], histories: Mapping[str, RecordHistory]
) -> Iterator[str]:
    """Say what is different in inputs that have changed: ``imaging_metadata: centerMM.ML changed from 2.6 to 2.7``."""
    for name, version in manifest.basis.inputs.items():
        if name not in made or standing.basis.inputs.get(name, version) == version:
            continue
        digest = manifest.chain.inputs.get(name, "")
        older = [m for m in histories[name].records if m.digest == digest or m.data_version == version]
        if older:
            changes = changed_facts(older[0].facts, made[name].facts)
            if changes:
                yield f"{name}: {', '.join(changes)}"


def changed_facts(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[str, ...]:
    """Say which numbers of two results differ, as in ``rois changed from 40 to 42``."""
    return tuple(
        f"{name} changed from {before.get(name, '(none)')} to {after.get(name, '(none)')}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    )


def _strangers(
    key: str,
    assets: Sequence[AuditedAsset],
    made: Mapping[str, Manifest],
    listing: Sequence[ListedFile],
    delivered: frozenset[str],
) -> Iterator[Finding]:
    """Find files that no record names, by folder."""
    own: set[str] = {file.path for manifest in made.values() for file in manifest.files}
    strangers: dict[tuple[str, str], list[str]] = {}
    patterns = [(asset.name, re.compile(asset.places)) for asset in assets if asset.places and not asset.running]
    busy = [re.compile(asset.places) for asset in assets if asset.places and asset.running]
    for file in listing:
        path = file.path
        if path in own or path in delivered or any(pattern.fullmatch(path) for pattern in busy):
            continue
        asset = next((name for name, pattern in patterns if pattern.fullmatch(path)), "")
        if path.startswith(RAW_PREFIXES) and asset not in made:
            continue  # the rig may deliver what an asset would make
        strangers.setdefault((asset, path.rpartition("/")[0]), []).append(path.rpartition("/")[2])
    for (asset, folder), names in strangers.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        if asset:
            remedy = "If nobody has put them there on purpose, remove them"
            yield Finding(Kind.ORPHANED, key, asset, folder, "files that a record names", shown, remedy)
        else:
            remedy = "Nothing is to be done if a person or another program has put them there"
            yield Finding(Kind.NOT_OURS, key, "", folder, "files of the rig or of an asset", shown, remedy)


def _again(key: str, asset: str) -> str:
    return f"Run {_command(key, asset)}"


def _command(key: str, asset: str) -> str:
    return f"`meso run {key} --assets {asset}`"


__all__ = ["AuditedAsset", "FileRecord", "Materialization", "audit_session", "changed_facts"]
