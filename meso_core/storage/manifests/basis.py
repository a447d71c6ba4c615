"""What a result depends on, and whether that is still the same.

What belongs here: the frozen record and its comparison. What the record of an asset holds is declared by the platform.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ...errors import brief
from ...json_text import json_text
from ...session import LEFT_OUT_FOVS

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class ChangedSetting:
    """A setting that is another one now."""

    #: With a dot before the name of what a table holds.
    name: str
    before: Any
    now: Any
    #: Whether it stood in the record, and whether it counts now: some do only where they are given.
    was_given: bool = True
    is_given: bool = True

    def __str__(self) -> str:
        before = _shown(self.before if self.was_given else _ABSENT)
        return f"setting {self.name}: {before} → {_shown(self.now if self.is_given else _ABSENT)}"


@dataclass(frozen=True, slots=True)
class Basis:
    """What a result depends on. Equal bases, equal results.

    Attributes
    ----------
    code_version
        Version of the code that makes the result; raised by hand when the meaning of the result changes.
    inputs
        Input (an asset, or raw files by kind) → its version.
    settings
        Setting → value, as JSON values, of those that decide the content.
    packages
        Package → version, of those that decide the bytes.
    """

    code_version: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Basis:
        """Read what :meth:`as_record` gave."""
        return cls(
            str(record["code_version"]), dict(record["inputs"]), dict(record["settings"]), dict(record["packages"])
        )

    def as_record(self) -> dict[str, Any]:
        """Return plain JSON values, with sorted keys."""
        plain: dict[str, Any] = json.loads(self._text())
        return plain

    def _text(self) -> str:
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return json_text(parts, sort_keys=True)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of the fields of view that a person has left out."""
        return tuple(self.settings.get(LEFT_OUT_FOVS, ()))

    @property
    def digest(self) -> str:
        """SHA-256 of the record."""
        return hashlib.sha256(self._text().encode()).hexdigest()

    def with_settings(self, **more: object) -> Basis:
        """Return a copy that depends on further settings, as the part of one field of view."""
        return replace(self, settings={**self.settings, **more})

    def without_inputs(self, names: Collection[str]) -> Basis:
        """Return a copy that does not depend on these inputs."""
        return replace(self, inputs={name: version for name, version in self.inputs.items() if name not in names})

    def differences(self, now: Basis) -> tuple[str, ...]:
        """Tell in which parts another basis differs.

        Returns
        -------
        tuple of str
            A sentence per part, as in ``setting archive_format: tar.bz2 → zarr``; empty where they are equal.
        """
        if self == now:
            return ()
        before, after = self.as_record(), now.as_record()
        found = []
        if before["code_version"] != after["code_version"]:
            found.append(f"code version {before['code_version'] or '(none)'} → {after['code_version']}")
        found += [_input_sentence(*change) for change in _changes(before["inputs"], after["inputs"])]
        found += [str(one) for one in self.changed_settings(now)]
        found += [
            f"package {name}: {_shown(old)} → {_shown(new)}"
            for name, old, new in _changes(before["packages"], after["packages"])
        ]
        return tuple(found)

    def changed_settings(self, now: Basis) -> tuple[ChangedSetting, ...]:
        """List the settings in which another basis differs, by name."""
        before, after = _flat(self.as_record()["settings"]), _flat(now.as_record()["settings"])
        return tuple(
            ChangedSetting(name, before.get(name), after.get(name), old is not _ABSENT, new is not _ABSENT)
            for name, old, new in _changes(before, after)
        )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[tuple[str, Any, Any]]:
    for name in sorted({*before, *after}):
        old, new = before.get(name, _ABSENT), after.get(name, _ABSENT)
        if old is _ABSENT or new is _ABSENT or old != new:
            yield name, old, new


def _input_sentence(name: str, old: object, new: object) -> str:
    if old is _ABSENT:
        return f"{name}: its version was not recorded"
    if new is _ABSENT:
        return f"{name} is not there any more"
    return f"{name} has changed ({str(old)[:8]} → {str(new)[:8]})"


def _shown(value: object) -> str:
    if value is _ABSENT:
        return "(not recorded)"
    return value if isinstance(value, str) and value else brief(value)
