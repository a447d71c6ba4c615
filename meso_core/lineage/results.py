"""What each result of a session was made with and of, beside what it would be made with and of now.

What belongs here: that comparison, part by part, as values. Whether a result is current is decided in
``storage.manifests.currency``; following one file through all records is in ``tracing``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..json_text import json_text
from ..storage import Manifest, Standing, package_versions


@dataclass(frozen=True, slots=True)
class UsedInput:
    """Something that a result was made of, or would be made of now."""

    name: str
    #: Version that was used; empty where none was.
    used: str
    #: Version that there is now; empty where it is not there.
    now: str

    @property
    def is_same(self) -> bool:
        """Whether it is as it was when it was used."""
        return self.used == self.now


@dataclass(frozen=True, slots=True)
class UsedPackage:
    """A package that took part."""

    name: str
    used: str
    #: Version in this process; empty where it is not installed.
    now: str
    #: Whether its version decides the bytes of the result.
    decides: bool

    @property
    def is_same(self) -> bool:
        """Whether it has the version that was used."""
        return self.used == self.now


@dataclass(frozen=True, slots=True)
class UsedSetting:
    """A setting whose value is not the default."""

    name: str
    #: As a person reads it.
    value: str
    #: The same of the default; empty where it has none.
    default: str


@dataclass(frozen=True, slots=True)
class ResultLineage:
    """How one result of a session was made.

    Attributes
    ----------
    asset
        Its name.
    manifest
        The record of what was published; None where nothing was.
    reasons
        All that speaks against it; empty where it is current.
    inputs, packages
        What it was made of and with.
    settings, options
        Settings that decide its content and are not the default; options that were given for that run alone.
    """

    asset: str
    manifest: Manifest | None
    reasons: tuple[str, ...] = ()
    inputs: tuple[UsedInput, ...] = ()
    packages: tuple[UsedPackage, ...] = ()
    settings: tuple[UsedSetting, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    def as_record(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        made = self.manifest
        record = {name: value for name, value in asdict(self).items() if name != "manifest"}
        record["reasons"] = list(self.reasons)
        if made is None:
            return record
        return record | {
            "manifest": made.digest,
            "published_at": made.published_at,
            "made_by": asdict(made.made_by),
            "code_version": made.basis.code_version,
            "data_version": made.data_version,
            "n_files": len(made.files),
            "n_bytes": made.total_bytes,
        }


def results_of(
    standings: Mapping[str, Standing], defaults: Mapping[str, Mapping[str, Any]]
) -> tuple[ResultLineage, ...]:
    """Tell of each result how it was made.

    Parameters
    ----------
    standings
        Asset → how it stands; the answers come in their order.
    defaults
        Asset → setting → its default, of those that decide its content.
    """
    return tuple(_result(name, found, defaults.get(name, {})) for name, found in standings.items())


def _result(name: str, found: Standing, defaults: Mapping[str, Any]) -> ResultLineage:
    made, now = found.manifest, found.basis
    if made is None:
        return ResultLineage(name, None, found.reasons, tuple(UsedInput(one, "", v) for one, v in now.inputs.items()))
    used = made.basis.inputs
    return ResultLineage(
        name,
        made,
        found.reasons,
        tuple(UsedInput(one, used.get(one, ""), now.inputs.get(one, "")) for one in {**now.inputs, **used}),
        _packages(made),
        tuple(
            UsedSetting(one, as_text(value), as_text(defaults[one]) if one in defaults else "")
            for one, value in other_settings(made.basis.settings, defaults)
        ),
        {one: as_text(value) for one, value in sorted(made.made_by.options.items())},
    )


def _packages(made: Manifest) -> tuple[UsedPackage, ...]:
    deciding, used = made.basis.packages, {**made.made_by.packages, **made.basis.packages}
    now = package_versions(tuple(used))
    return tuple(UsedPackage(name, used[name], now.get(name, ""), name in deciding) for name in sorted(used))


def other_settings(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """List settings whose value is not the default, by name; those without a known default count as other."""
    unknown = object()
    return sorted((name, value) for name, value in settings.items() if defaults.get(name, unknown) != value)


def as_text(value: object) -> str:
    """Write the value of a setting for a person."""
    return value if isinstance(value, str) else json_text(value, sort_keys=True, nulls=True)
