"""What of a session may not be sent to Alyx for its stored verdicts: the one answer of assets, plans and audits.

What belongs here: the gate of ``meso_core.alyx`` over the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meso_core.qc import DEFAULT_LIMITS, Limits, QCResult, check_of
from meso_core.review import REJECT, PersonVerdict, SessionQuality, session_quality
from meso_core.storage import Session

from ..catalogue import CATALOGUE

if TYPE_CHECKING:
    from meso_core.alyx import SendingOverride

#: Asset whose verdicts are on what others made.
_OF_SESSION = "session_qc"
_READS = {name: declared.upstream for name, declared in CATALOGUE.items()}


@dataclass(frozen=True, slots=True)
class Withheld:
    """What quality control forbids to send, and what a person has allowed."""

    #: Asset → why it may not be sent, and what to do.
    why: Mapping[str, str]
    #: Asset → why it might not be sent, had nobody allowed it.
    allowed: Mapping[str, str]
    override: SendingOverride | None = None


def withheld_by_qc(session: Session, assets: Sequence[str], limits: Limits = DEFAULT_LIMITS) -> Withheld:
    """Tell which assets may not be sent for their own verdicts, or for those on what they were made from.

    Nothing of a session that a person has rejected is sent, whatever was allowed before.
    """
    from meso_core.alyx import forbidding, override_of

    quality = session_quality(session.path, limits)
    person = quality.person
    if person is not None and person.says == REJECT:
        how = f"when that holds no more: meso qc set {session.key} accept --by NAME --note WHY"
        return Withheld(dict.fromkeys(assets, f"the session was {person.told}; {how}"), {})
    failed = _failed(quality)
    if not failed:
        return Withheld({}, {})
    now = _versions_of(session, failed)
    given = [one for one in (override_of(session.path), _accepted(person)) if one is not None]
    covered = {name for name in failed for one in given if one.versions.get(name) == now[name]}
    found = forbidding({name: why for name, why in failed.items() if name not in covered}, assets, _READS)
    how = f"make it again, or allow it: meso alyx allow {session.key} --who NAME --why REASON"
    without = forbidding(failed, assets, _READS)
    used = [one for one in given if any(one.versions.get(name) == now[name] for name in failed)]
    return Withheld(
        {asset: f"{why}; {how}" for asset, why in found.items()},
        {asset: why for asset, why in without.items() if asset not in found},
        next(iter(used or given), None),
    )


def failed_versions(session: Session, limits: Limits = DEFAULT_LIMITS) -> dict[str, str]:
    """Return the assets that failed quality control, each with its data version; empty for one without record."""
    return _versions_of(session, _failed(session_quality(session.path, limits)))


def _failed(quality: SessionQuality) -> dict[str, str]:
    """Asset → why it failed; a verdict on the whole session speaks against the asset that it is about."""
    from meso_core.alyx import failed_checks

    verdicts: dict[str, list[QCResult]] = {}
    for asset, results in quality.results.items():
        for one in results:
            verdicts.setdefault((check_of(one.check).asset if asset == _OF_SESSION else "") or asset, []).append(one)
    return failed_checks(verdicts)


def _versions_of(session: Session, assets: Iterable[str]) -> dict[str, str]:
    made = session.manifests()
    return {name: made[name].data_version if name in made else "" for name in assets}


def _accepted(person: PersonVerdict | None) -> SendingOverride | None:
    """Return what a person who accepted the session allows: all that was there then."""
    from meso_core.alyx import SendingOverride

    if person is None:
        return None
    return SendingOverride(person.who, person.note or "accepted", person.at, person.versions)
