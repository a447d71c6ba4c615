"""The declaration of an asset: what it reads, and what its content depends on.

What belongs here: the type, and the basis that follows from it. From one declaration follow the asset's spec in
Dagster, the record in its manifest, the completion markers of its fields of view, `meso status`, and what the sensor
runs. The declarations themselves are in ``catalogue``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from meso_core.json_text import json_text
from meso_core.session import LEFT_OUT_FOVS, RawFiles, RawKind
from meso_core.storage import Basis, FileRecord, Manifest, PresentFiles, Session, package_versions

from ..runs.settings.settings import MesoSettings

if TYPE_CHECKING:
    from meso_core.alyx import Ended
    from meso_core.imaging import Suite2pOverrides

#: Asset that stands for what people said of a session.
PEOPLE = "person_verdicts"
#: Raw files of a session by kind, as they are now.
RawByKind: TypeAlias = Mapping[RawKind, RawFiles]


@dataclass(frozen=True, slots=True)
class Declaration:
    """One asset: everything that decides whether its result is current, and what a person reads about it."""

    name: str
    #: Group in the UI.
    group: str
    #: Raised by hand when the meaning of the result changes; then results of older code are stale.
    code_version: str
    #: Shown in the UI (markdown).
    description: str
    io_manager: Literal["alf", "session_files"]
    #: Kinds of raw files that it reads.
    raw: tuple[RawKind, ...] = ()
    #: Of these, kinds of which only headers are read: of a root on a server, their files are not fetched.
    headers_of: tuple[RawKind, ...] = ()
    #: Kind of raw files that it is about: without any, there is nothing to make.
    about: RawKind | None = None
    #: Assets that it reads.
    upstream: tuple[str, ...] = ()
    #: Settings that its content depends on: names of fields of :class:`MesoSettings`.
    settings: tuple[str, ...] = ()
    #: Stage of suite2p that makes it, if one does: its options are settings too.
    stage: Literal["registration", "detection"] | None = None
    #: Packages whose version decides its bytes.
    packages: tuple[str, ...] = ()
    #: Where it publishes: a regular expression of paths below the session.
    places: str = ""
    #: ALF datasets that each field of view has, without the suffix for how a location was found.
    datasets: tuple[str, ...] = ()
    #: Whether it shows or tells what people said of the session: then that is an input, with a version.
    reads_people: bool = False
    #: What the result means to an asset that reads it; where none is given, the IO manager hands out files or datasets.
    read: Callable[[Session, Manifest], Any] | None = None
    #: What, besides its files, must hold for the result to stand: gives a sentence for each thing that does not.
    doubts: Callable[[Path, PresentFiles, Sequence[FileRecord]], Sequence[str]] | None = None
    #: What a person edited in its files since they were published: gives a sentence for each file.
    edited: Callable[[Session, PresentFiles, Manifest], Sequence[str]] | None = None
    #: Reads from its records how a server was told of it, where one is: it may wait for the server, or be withheld.
    ended_as: Callable[[Path, Sequence[FileRecord]], Ended | None] | None = None
    #: Whether it reads what is recorded of its inputs, not the inputs: then those that are not made may be missing.
    reads_records: bool = False
    #: Whether it refuses raw files that are links; to make it again beside its session, they are copied.
    takes_no_links: bool = False
    #: Whether earlier versions of its files are worth keeping, where the lab keeps some.
    keeps_versions: bool = True
    #: Tags of kinds in the UI.
    kinds: tuple[str, ...] = ()
    #: Check name → the question it asks; verdicts of ``meso_core`` with these names are its answers.
    checks: Mapping[str, str] = field(default_factory=dict)
    #: Whether it takes seconds: then it is part of the quick job too.
    is_quick: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the assets that it reads, raw ones first, what people said last."""
        people = (PEOPLE,) if self.reads_people else ()
        return (*(raw_asset(kind) for kind in self.raw), *self.upstream, *people)

    def settings_now(self, settings: MesoSettings) -> dict[str, Any]:
        """Choose the settings of one session that the content depends on, as JSON values.

        Fields of view that are left out, and limits of verdicts, are among them only where there are some.
        """
        return dict(_chosen(_Same(settings), self.settings, self.stage))

    @property
    def default_settings(self) -> dict[str, Any]:
        """Default of each setting that the content depends on."""
        return self.settings_now(_bare_settings())

    def version(self, settings: MesoSettings) -> str:
        """Version as Dagster sees it, of code, settings and packages: so it finds stale what meso finds stale.

        It is one for all sessions, so what is left out of one of them has no part in it.
        """
        of_all = settings.model_copy(update={LEFT_OUT_FOVS: {}})
        parts = json_text([self.settings_now(of_all), self._packages()], sort_keys=True)
        return f"{self.code_version}+{hashlib.sha256(parts.encode()).hexdigest()[:12]}"

    def basis(self, raw: RawByKind, made: Mapping[str, Manifest], settings: MesoSettings, people: str) -> Basis:
        """Tell what the result of a session depends on now.

        Parameters
        ----------
        raw
            What the rig delivered.
        made
            What assets have published in the session; one that was never made is not among them.
        settings
            Settings of the session.
        people
            Version of what people said of it.
        """
        inputs = {raw_asset(kind): raw[kind].version for kind in self.raw}
        inputs |= {name: made[name].data_version for name in self.upstream if name in made}
        inputs |= {PEOPLE: people} if self.reads_people else {}
        return Basis(self.code_version, inputs, self.settings_now(settings), self._packages())

    def with_options(self, basis: Basis, overrides: Suite2pOverrides) -> Basis:
        """Basis of one run whose suite2p options are others than those of the platform."""
        return basis.with_settings(**_stage_settings(self.stage, overrides)) if self.stage else basis

    def _packages(self) -> dict[str, str]:
        return dict(_versions(self.packages))


def raw_asset(kind: RawKind) -> str:
    """Name of the asset that stands for the raw files of a kind."""
    return f"raw_{kind.value}"


@lru_cache
def _bare_settings() -> MesoSettings:
    return MesoSettings.model_construct()


@lru_cache
def _versions(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple(package_versions(names).items())


class _Same:
    """Settings that are equal to themselves alone: of very many sessions, nearly all have the same object."""

    __slots__ = ("settings",)

    def __init__(self, settings: MesoSettings) -> None:
        self.settings = settings

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.settings is other.settings

    def __hash__(self) -> int:
        return id(self.settings)


@lru_cache
def _chosen(
    same: _Same, names: tuple[str, ...], stage: Literal["registration", "detection"] | None
) -> Mapping[str, Any]:
    settings = same.settings
    dumped = settings.model_dump(mode="json", include=set(names))
    chosen = {name: value for name, value in dumped.items() if value != {}}
    left_out = sorted({name for names in chosen.pop(LEFT_OUT_FOVS, {}).values() for name in names})
    if left_out:
        chosen[LEFT_OUT_FOVS] = left_out
    return {**chosen, **(_stage_settings(stage, settings.overrides) if stage else {})}


def _stage_settings(stage: Literal["registration", "detection"], overrides: Suite2pOverrides) -> dict[str, Any]:
    from meso_core.imaging.device import device_class
    from meso_core.imaging.options import stage_options, torch_device

    options = {f"suite2p.{name}": value for name, value in stage_options(overrides, stage).items()}
    return {**options, "device": device_class({"torch_device": torch_device(overrides)})}
