"""What a person may choose for one run of suite2p in the launchpad: each setting with its kind, default and bounds.

What belongs here: the form, and its way to the steps. What the settings mean is in ``meso_core.imaging.options``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from meso_core.imaging.options import Suite2pOverrides, get_default_tau
from meso_core.imaging.options.settings_table import Setting
from meso_core.imaging.options.usual import describe_setting, offered_settings


class Suite2pConfig(dg.Config):
    """Choices of one run as the steps of an asset get them; they win over the settings."""

    #: suite2p options by name, as in ``{"threshold_scaling": 0.8}``.
    suite2p: dict[str, Any | None] = {}  # noqa: RUF012  pydantic copies it
    #: Whether ROIs that a person curated may be replaced where other settings ask for new ones.
    discard_curation: bool = False


_KINDS: Mapping[type, Any] = {
    bool: bool,
    int: int,
    float: float,
    str: str,
    tuple: [int],
    list: [float],
    dict: dict,
}


def _form() -> dict[str, dg.Field]:
    """Build what the launchpad offers; a name that is not in it is refused there."""
    options = {name: _option(row) for name, row in offered_settings()}
    return {
        "suite2p": dg.Field(
            options,
            is_required=False,
            default_value={},
            description="Settings of suite2p that differ for this run, by their full names or the last parts of them.",
        ),
        "genotype": dg.Field(
            str,
            is_required=False,
            default_value="",
            description="Alleles of the subject, as in Ai94(TITL-G6f)-ICL-G6f; `;` between several. tau follows.",
        ),
        "discard_curation": dg.Field(
            bool,
            is_required=False,
            default_value=False,
            description="Whether labels that a person has given to ROIs may go, where other settings ask for new ROIs.",
        ),
    }


def _option(row: Setting) -> dg.Field:
    kind = _KINDS[row.kind]
    if row.default is None:
        kind = dg.Noneable(kind)
    return dg.Field(kind, is_required=False, description=describe_setting(row))


def suite2p_config(*steps: str) -> dg.ConfigMapping:
    """Offer the choices for an asset, and hand what was chosen to its steps; values are checked before a run starts."""
    return dg.ConfigMapping(config_fn=_for_steps(steps), config_schema=_form())


def _for_steps(steps: tuple[str, ...]) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    def hand_on(chosen: Mapping[str, Any]) -> Mapping[str, Any]:
        options = dict(chosen["suite2p"])
        Suite2pOverrides.parse(options)
        if chosen["genotype"] and "tau" not in options:
            options["tau"] = get_default_tau(chosen["genotype"])
        config = {"suite2p": options, "discard_curation": chosen["discard_curation"]}
        return {step: {"config": config} for step in steps}

    return hand_on
