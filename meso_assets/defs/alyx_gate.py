"""What of a session may not be sent to Alyx for its stored verdicts: the one answer of assets, plans and audits.

What belongs here: the gate of ``meso_core.alyx`` over the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meso_core.qc import stored_results
from meso_core.storage import Session

from .catalogue import CATALOGUE

if TYPE_CHECKING:
    from meso_core.alyx import SendingOverride

_READS = {name: declared.upstream for name, declared in CATALOGUE.items()}


@dataclass(frozen=True, slots=True)
class Withheld:
    """What quality control forbids to send, and what a person has allowed."""

    #: Asset → why it may not be sent, and what to do.
    why: Mapping[str, str]
    #: Asset → why it might not be sent, had nobody allowed it.
    allowed: Mapping[str, str]
    override: SendingOverride | None = None


def withheld_by_qc(session: Session, assets: Sequence[str]) -> Withheld:
    """Tell which assets may not be sent for their own verdicts, or for those on what they were made from."""
    from meso_core.alyx import failed_checks, forbidding, override_of

    failed = failed_checks(stored_results(session.path))
    if not failed:
        return Withheld({}, {})
    override, now = override_of(session.path), failed_versions(session)
    covered = {name for name in failed if override is not None and override.versions.get(name) == now[name]}
    found = forbidding({name: why for name, why in failed.items() if name not in covered}, assets, _READS)
    how = f"make it again, or allow it: meso alyx allow {session.key} --who NAME --why REASON"
    without = forbidding(failed, assets, _READS)
    return Withheld(
        {asset: f"{why}; {how}" for asset, why in found.items()},
        {asset: why for asset, why in without.items() if asset not in found},
        override,
    )


def failed_versions(session: Session) -> dict[str, str]:
    """Return the assets that failed quality control, each with its data version; empty for one without record."""
    from meso_core.alyx import failed_checks

    made = session.manifests()
    return {
        name: made[name].data_version if name in made else "" for name in failed_checks(stored_results(session.path))
    }
