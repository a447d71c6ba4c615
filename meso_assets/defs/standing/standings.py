"""How all assets of a session stand: the one answer that assets, `meso status` and the sensor share.

What belongs here: one look at a session, judged by the declarations. How a result is compared with what it was made
from is in ``meso_core.storage.manifests.currency``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meso_core.alyx import SubjectAnswer, kept_answer
from meso_core.archive.delivered import delivered_files, raw_by_kind
from meso_core.review import Sayings, sayings
from meso_core.session import (
    DESCRIPTION,
    GONE,
    IMAGING_META_FILE,
    Arrival,
    ListedFile,
    RawKind,
    ignored_among,
    judge_arrival,
    odd_bouts,
    read_description,
    some,
    surplus_metadata,
)
from meso_core.storage import Manifest, PresentFiles, Session, Standing, foreign_results, standing

from ...runs.settings.settings import MesoSettings
from ..catalogue import CATALOGUE
from ..declare import PEOPLE, Declaration, RawByKind, raw_asset


@dataclass(frozen=True, slots=True)
class SessionView:
    """What one look at a session finds."""

    session: Session
    #: All files but the platform's own records: as a listing, and to compare records with.
    listing: tuple[ListedFile, ...]
    present: PresentFiles
    #: What the rig delivered, and the same by kind.
    delivered: tuple[ListedFile, ...]
    raw: RawByKind
    #: What assets have published.
    made: Mapping[str, Manifest]
    #: What people said of the session.
    people: Sayings
    #: What Alyx said of a subject, as it is kept with the session; None where it was never asked.
    answer: SubjectAnswer | None = None

    @property
    def subject(self) -> SubjectAnswer | None:
        """What Alyx said of the subject of the session: what is kept may be of another one, in a copied folder."""
        return self.answer if self.answer is not None and self.answer.subject == self.session.key.subject else None

    def own_settings(self, settings: MesoSettings) -> MesoSettings:
        """Return the settings that hold for this session: where a person gave none, what Alyx said counts.

        The genotype, and the window's centre where the rig left no metadata that tell it.
        """
        settings = settings.of_session(self.session.key)
        if (subject := self.subject) is None:
            return settings
        own: dict[str, object] = {}
        if not settings.genotype and subject.genotype:
            own["genotype"] = subject.genotype
        not_given = settings.window_center_ml is None and settings.window_center_ap is None
        told_by_rig = any(file.path.endswith(IMAGING_META_FILE) for file in self.raw[RawKind.METADATA].files)
        if not_given and not told_by_rig and subject.window_center is not None:
            own["window_center_ml"], own["window_center_ap"] = subject.window_center
        return settings.model_copy(update=own) if own else settings

    def standing(self, declaration: Declaration, settings: MesoSettings) -> Standing:
        """How one asset stands."""
        return self._standing(declaration, self.own_settings(settings))

    def _standing(self, declaration: Declaration, own: MesoSettings) -> Standing:
        basis = declaration.basis(self.raw, self.made, own, self.people.version)
        manifest = self.made.get(declaration.name)
        doubts: tuple[str, ...] = ()
        if declaration.doubts and manifest:
            doubts = tuple(declaration.doubts(self.session.path, self.present, manifest.files))
        found = standing(self.present, manifest, basis, doubts)
        if declaration.ended_as is None or manifest is None or found.broken:
            return found  # a damaged record is told as a file that does not hold
        records = [file.path for file in manifest.files if file.path.endswith(".json")]
        folder = self.session.fetch(path for path in records if path in self.present.files)
        ended = declaration.ended_as(folder, manifest.files)
        return found if ended is None else found.outside(ended.why_waiting, ended.why_withheld)

    def standings(self, settings: MesoSettings) -> dict[str, Standing]:
        """How all assets stand."""
        own = self.own_settings(settings)
        return {name: self._standing(declaration, own) for name, declaration in CATALOGUE.items()}

    def arrival(self, settings: MesoSettings, *, now_ns: int) -> Arrival:
        """Whether the session is whole, and why (not)."""
        if not self.delivered:
            return Arrival(False, "nothing of the rig there yet")
        return judge_arrival(
            self.delivered,
            now_ns=now_ns,
            quiet_ns=int(settings.quiet_minutes * 60e9),
            description=read_description(self._folder_of_description()),
        )

    def _folder_of_description(self) -> Path:
        file = self.present.files.get(DESCRIPTION)
        there = file is not None and file.size != GONE
        return self.session.fetch([DESCRIPTION]) if there else self.session.path

    def broken_rules(self) -> tuple[str, ...]:
        """Name what breaks a rule, so that a person must mend it, in sentences."""
        return tuple(
            f"{bout} has {len(names)} metadata files ({some(names)}) where one is expected: move the wrong one out"
            for bout, names in surplus_metadata(self.listing).items()
        )

    def remarks(self) -> tuple[str, ...]:
        """Name what lies in the session and is no data, or somebody else's, in sentences."""
        ignored = ignored_among(
            (*(file.path for file in self.delivered), *(path.split("/")[0] for path in self.present.files))
        )
        others = self.answer.subject if self.answer is not None and self.subject is None else ""
        reasons = {why: [path for path, other in ignored.items() if other == why] for why in ignored.values()}
        return (
            *(f"ignored, {why}: {some(paths)}" for why, paths in sorted(reasons.items())),
            *(
                f"{name} is passed over: an imaging bout is a folder raw_imaging_data_NN, with two digits"
                for name in odd_bouts(self.delivered)
            ),
            *self.broken_rules(),
            *(f"{name} is not of meso and is left alone" for name in foreign_results(self.present.files, self.made)),
            *([f"what Alyx said of subject {others} is kept here and does not count"] if others else []),
        )

    def given_versions(self) -> dict[str, str]:
        """Asset that no run makes → its version now: raw files, and what people said."""
        return {**{raw_asset(kind): files.version for kind, files in self.raw.items()}, PEOPLE: self.people.version}

    def given_shown(self) -> dict[str, dict[str, Any]]:
        """Asset that no run makes → what a person reads of it in the interface."""
        from ...io.metadata import people_metadata, raw_metadata  # Dagster, which a look without it does not load

        raw = {raw_asset(kind): raw_metadata(files) for kind, files in self.raw.items()}
        return {**raw, PEOPLE: people_metadata(self.people)}


def look_at(session: Session) -> SessionView:
    """List a session and read its records, once."""
    made = session.manifests()
    listing = session.store.listing(session.key)
    files = delivered_files(session, made, listing)
    raw, answer, people = raw_by_kind(session.path, files), kept_answer(session.path), sayings(session.path)
    return SessionView(session, listing, session.present(listing), files, raw, made, people, answer)


def records_readers(made: Collection[str]) -> tuple[str, ...]:
    """Assets that read what is recorded of their inputs, some of which are made: they go on where others failed."""
    return tuple(name for name, one in CATALOGUE.items() if one.reads_records and {*one.upstream} & {*made})


def with_downstream(assets: Iterable[str]) -> tuple[str, ...]:
    """Add the assets that read others, directly or not: they may become stale when those are made again.

    In the order of the catalogue.
    """
    chosen = set(assets)
    while more := {name for name, declared in CATALOGUE.items() if chosen & set(declared.upstream)} - chosen:
        chosen |= more
    return tuple(name for name in CATALOGUE if name in chosen)
