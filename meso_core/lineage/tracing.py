"""Where a file comes from, back to what the rig left, and what was made from it.

What belongs here: following the manifests of a session, those of earlier runs where a result was made from one. How it
is written (text, RO-Crate, picture) is in ``crate`` and ``graph``, and in the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import MissingInputError
from ..session import ListedFile
from ..storage import FileRecord, Manifest, PackedFile, Session, Standing
from .chain import RecordHistory, read_histories


@dataclass(frozen=True, slots=True)
class RawInput:
    """Raw files of one kind that a result was made from."""

    name: str
    #: Version when it was used.
    version: str
    #: Whether the files that are there now have this version.
    is_same: bool
    #: As they are now.
    files: tuple[ListedFile, ...]
    #: Path below the session → SHA-256, of those that an archive holds.
    hashes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Step:
    """One run of an asset: what it read, and the record of what it made."""

    manifest: Manifest
    #: Whether a later run has replaced it.
    is_replaced: bool
    #: Why it has to be made again; empty where it is current or was replaced.
    reasons: tuple[str, ...]
    #: Digests of the manifests of its inputs, by asset; an input whose record is not there any more has none.
    inputs: Mapping[str, str]

    @property
    def asset(self) -> str:
        """Name of the asset."""
        return self.manifest.asset


@dataclass(frozen=True, slots=True)
class Lineage:
    """The history of a file, or of all files of an asset."""

    session: str
    #: What was asked for: an asset, or the path of a file below the session.
    subject: str
    #: The file that was asked for; None where it was an asset.
    file: FileRecord | None
    #: From what the rig left to what was asked for.
    steps: tuple[Step, ...]
    raw: tuple[RawInput, ...]
    #: What was made from it, directly or not, in the order in which it was made.
    onward: tuple[Step, ...]

    def as_record(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "session": self.session,
            "subject": self.subject,
            "file": asdict(self.file) if self.file else None,
            "steps": [_step_record(step) for step in self.steps],
            "raw": [asdict(raw) for raw in self.raw],
            "made_from_it": [_step_record(step) for step in self.onward],
        }


def _step_record(step: Step) -> dict[str, Any]:
    manifest = step.manifest
    return {
        "asset": manifest.asset,
        "manifest": manifest.digest,
        "replaced": step.is_replaced,
        "stale": list(step.reasons),
        "published_at": manifest.published_at,
        "made_by": asdict(manifest.made_by),
        "data_version": manifest.data_version,
        "basis": manifest.basis.as_record(),
        "inputs": dict(step.inputs),
        "facts": dict(manifest.facts),
        "missing": {fov: asdict(one) for fov, one in manifest.missing.items()},
        "files": [asdict(file) for file in manifest.files],
    }


def trace(
    session: Session,
    subject: str,
    standings: Mapping[str, Standing],
    raw: Mapping[str, tuple[str, Sequence[ListedFile]]],
) -> Lineage:
    """Follow a file or an asset of a session back and onward.

    Parameters
    ----------
    session
        The session.
    subject
        Name of an asset, or path of a published file below the session.
    standings
        Asset → how it stands, of all assets in an order in which those that are read come first.
    raw
        Raw input → its version now, and its files.

    Raises
    ------
    MissingInputError
        If no record names the file, or the asset was not made.
    """
    made = {name: standing.manifest for name, standing in standings.items() if standing.manifest is not None}
    histories = read_histories(session, made)
    start, file = _subject(session, subject, standings, made)
    steps: dict[str, Step] = {}
    _back(start, standings, made, histories, steps)
    onward = {start.digest: steps[start.digest]}
    for name in standings:  # in the order in which they read each other
        step = _step(made[name], standings, made, histories) if name in made else None
        if step is not None and step.manifest.digest not in onward and set(step.inputs.values()) & set(onward):
            onward[step.manifest.digest] = step
    hashes = _archived(made.values())
    return Lineage(
        str(session.key),
        subject,
        file,
        tuple(steps.values()),
        _raw_inputs(steps.values(), raw, hashes),
        tuple(onward.values())[1:],
    )


def _subject(
    session: Session, subject: str, standings: Mapping[str, Standing], made: Mapping[str, Manifest]
) -> tuple[Manifest, FileRecord | None]:
    if subject in standings:
        if subject in made:
            return made[subject], None
        raise MissingInputError.at(
            str(session.key),
            expected=f"files of {subject}",
            found="that it was not made",
            remedy=f"Run `meso run {session.key} --assets {subject}`",
        )
    for manifest in made.values():
        for file in manifest.files:
            if file.path == subject:
                return manifest, file
    raise MissingInputError.at(
        f"{session.key} {subject}",
        expected=f"a published file, by its path below the session, or one of {', '.join(standings)}",
        found="a file that no record names" if subject in session.present().files else "no such file",
        remedy="Correct the name; `meso audit` tells which files no record names",
    )


def _back(
    manifest: Manifest,
    standings: Mapping[str, Standing],
    made: Mapping[str, Manifest],
    histories: Mapping[str, RecordHistory],
    steps: dict[str, Step],
) -> None:
    """Add the steps that a result comes from, those that came first first."""
    step = _step(manifest, standings, made, histories)
    for name, digest in step.inputs.items():
        older = next((one for one in histories[name].records if one.digest == digest), None) if digest else None
        if older is not None and older.digest not in steps:
            _back(older, standings, made, histories, steps)
    steps[manifest.digest] = step


def _step(
    manifest: Manifest,
    standings: Mapping[str, Standing],
    made: Mapping[str, Manifest],
    histories: Mapping[str, RecordHistory],
) -> Step:
    present = made.get(manifest.asset)
    replaced = present is None or present.digest != manifest.digest
    inputs = {}
    for name, version in manifest.basis.inputs.items():
        if name in histories:
            recorded = manifest.chain.inputs.get(name)
            known = [one.digest for one in histories[name].records if one.data_version == version]
            inputs[name] = recorded if recorded in known else next(iter(known), "")
    return Step(manifest, replaced, () if replaced else standings[manifest.asset].reasons, inputs)


def _archived(manifests: Iterable[Manifest]) -> dict[str, PackedFile]:
    """Path below the session → a file as an archive holds it."""
    return {
        f"{path.rpartition('/')[0]}/{packed.name}": packed
        for manifest in manifests
        for path, content in manifest.contents.items()
        for packed in content
    }


def _raw_inputs(
    steps: Iterable[Step],
    raw: Mapping[str, tuple[str, Sequence[ListedFile]]],
    archived: Mapping[str, PackedFile],
) -> tuple[RawInput, ...]:
    used = dict.fromkeys(
        (name, version) for step in steps for name, version in step.manifest.basis.inputs.items() if name in raw
    )
    found = []
    for name, version in used:
        now, files = raw[name]
        hashes = {
            file.path: archived[file.path].sha256
            for file in files
            if file.path in archived and archived[file.path].size == file.size
        }
        found.append(RawInput(name, version, now == version, tuple(files), hashes))
    return tuple(found)
