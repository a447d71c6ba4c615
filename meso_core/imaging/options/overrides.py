"""The suite2p options that somebody chose, parsed and checked once, and which stage depends on which option.

What belongs here: options by name, without a session. What does not: what follows from a session's metadata
(``from_metadata``), and the table of suite2p's settings (``settings_table``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import SettingsError, brief
from ...json_text import json_text
from .settings_table import SUITE2P_SETTINGS, OptionValue, check_value, find_setting, is_owned

#: What a mesoscope session sets otherwise than suite2p's defaults; see the table in :func:`suite2p_options`.
MESOSCOPE: Mapping[str, Any] = {
    "registration.nonrigid": True,
    "registration.maxregshift": 0.05,
    "registration.nimg_init": 400,
    "registration.batch_size": 500,
    "detection.denoise": True,
    "classification.use_builtin_classifier": True,
    "run.do_regmetrics": True,
    "io.combined": False,
}
#: Set for each session from its metadata or its subject, unless overridden.
_BY_SESSION = ("fs", "tau", "registration.block_size")
_DEFAULTS: Mapping[str, Any] = {
    **{row.name: check_value(row, row.default) for row in SUITE2P_SETTINGS},
    **MESOSCOPE,
    **dict.fromkeys(_BY_SESSION, "by session"),
}


@dataclass(frozen=True, eq=False)
class Suite2pOverrides:
    """Options that somebody chose, checked once by :meth:`parse`. An explicit default is equal to none."""

    #: Full name → value in suite2p's type.
    values: Mapping[str, OptionValue] = field(default_factory=dict)

    @classmethod
    def parse(cls, options: Mapping[str, Any] | None) -> Suite2pOverrides:
        """Check options by name and value.

        Parameters
        ----------
        options
            Name → value, by full name (``"detection.threshold_scaling"``) or by its last part where only one setting
            ends so (``"threshold_scaling"``).

        Raises
        ------
        SettingsError
            If an option is unknown, ambiguous, given twice, out of bounds, or not a user's to set.
        """
        checked: dict[str, OptionValue] = {}
        for name, given in (options or {}).items():
            row = find_setting(name)
            value = check_value(row, given)
            if row.name in checked and checked[row.name] != value:
                found = f"{brief(checked[row.name])} and {brief(value)}"
                remedy = f"Give {row.name} once"
                raise SettingsError.at("suite2p settings", field=name, expected="one value", found=found, remedy=remedy)
            checked[row.name] = value
        return cls(dict(sorted(checked.items())))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Suite2pOverrides) and self.in_force == other.in_force

    def __hash__(self) -> int:
        return hash(json_text(self.in_force, sort_keys=True))

    @property
    def in_force(self) -> dict[str, OptionValue]:
        """All settings by full name, meso's defaults filled in."""
        return {**_DEFAULTS, **self.values}

    def __or__(self, other: Suite2pOverrides) -> Suite2pOverrides:
        """Join two sets of options; those on the right win."""
        return Suite2pOverrides(dict(sorted({**self.values, **other.values}.items())))


NO_OVERRIDES = Suite2pOverrides()


def stage_options(overrides: Suite2pOverrides, stage: str) -> dict[str, OptionValue]:
    """List all options that a stage depends on, for the basis of its result.

    Parameters
    ----------
    overrides
        What somebody chose.
    stage
        ``registration``, or ``detection`` (with extraction, deconvolution and classification).

    Returns
    -------
    dict
        Full name → JSON value, sorted by name. meso's defaults are filled in; what each session sets for itself is
        ``"by session"``. The device is not among them, nor what the pipeline sets itself.
    """
    return {name: value for name, value in sorted(overrides.in_force.items()) if _stage_of(name) == stage}


def torch_device(overrides: Suite2pOverrides) -> str:
    """Name the device that was asked for, as torch does."""
    return str(overrides.values.get("torch_device", _DEFAULTS["torch_device"]))


def _stage_of(name: str) -> str | None:
    """Stage that an option decides; None for the device, which is told by class and not by wish, and for our own."""
    if name == "torch_device" or (is_owned(name) and name != "fs"):
        return None
    return "registration" if name.startswith("registration.") or name == "run.do_regmetrics" else "detection"
