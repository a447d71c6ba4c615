"""The daily digest: what arrived, what is done, what failed and why, what waits, what is stale, what an audit found.

What belongs here: gathering it from the sessions, their verdicts and the ledger. How it reads is in ``texts``.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dagster as dg

from meso_core.counting import counted
from meso_core.errors import MesoWarning, told
from meso_core.lineage import last_verdict
from meso_core.session import SessionKey
from meso_core.storage import Standing
from meso_core.storage.files.times import CLOCKS_DIFFER_S

from ...io.resources import Platform
from ...io.session_names import Registered, labs_by_subject
from ..standing.standings import look_at
from .ledger import Ledger
from .pages import Page, Part, lay_out

_DAY_S = 86_400.0


@dataclass(slots=True)
class Digest:
    """The sessions of a root, by what a person wants to know; a line for each."""

    n_sessions: int = 0
    n_whole: int = 0
    #: Sessions that are there.
    keys: list[str] = field(default_factory=list)
    #: Session → when the last of it was published, where the next digest could take it for new.
    recent: dict[str, str] = field(default_factory=dict)
    arrived: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    #: Published, but for fields of view that failed.
    partial: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    audit: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    #: Folders that look like sessions and are none.
    passed_over: list[str] = field(default_factory=list)

    @property
    def subject(self) -> str:
        """Summary of it."""
        parts = {
            "arrived": self.arrived,
            "done": self.done,
            "failed": self.failed,
            "without some fields of view": self.partial,
            "waiting": self.waiting,
            "stale": self.stale,
            "with findings of an audit": self.audit,
            "unreadable": self.unreadable,
            "passed over": self.passed_over,
        }
        counts = ", ".join(f"{len(lines)} {word}" for word, lines in parts.items() if lines)
        return f"meso: {counts or 'nothing new'}"

    @property
    def page(self) -> Page:
        """Text of it."""
        parts = (
            Part("Arrived", self.arrived),
            Part("Done", self.done),
            Part("Failed", self.failed),
            Part("Published without some fields of view", self.partial),
            Part("Unreadable", self.unreadable),
            Part("Passed over", self.passed_over),
            Part("Waiting", self.waiting),
            Part("Stale", self.stale),
            Part("Findings of the last audit", self.audit),
        )
        return lay_out(parts, f"{counted(self.n_sessions, 'session')}, {self.n_whole} of them whole and current.")


def gather(platform: Platform, instance: dg.DagsterInstance, ledger: Ledger) -> Digest:
    """Look at all sessions; what one holds keeps no other from being told.

    Parameters
    ----------
    platform, instance
        Root and settings, and Dagster's records, which know how sessions are called.
    ledger
        What was there at the last digest, and what failed.

    Raises
    ------
    MesoError
        If the root cannot be listed.
    """
    found = Digest()
    known = set(ledger.known)
    survey = platform.store.survey()
    found.passed_over = [str(passed) for passed in survey.passed_over]
    if survey.unreachable:  # its sessions are not new when it is there again
        found.keys += sorted(known - {str(key) for key in survey.sessions})
    registered, labs = Registered.of(instance), labs_by_subject(survey.sessions)
    names = {key: registered.name(key, labs[key.subject]) for key in survey.sessions}
    for key, name in names.items():
        found.keys.append(str(key))
        found.n_sessions += 1
        if ledger.digest_at and str(key) not in known:
            found.arrived.append(name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", MesoWarning)
                _look(platform, key, name, found, ledger)
        except Exception as error:  # noqa: BLE001  as the docstring says
            found.unreadable.append(f"{name}: {told(error)}")
    jobs = {what: why for what, why in ledger.failing.items() if what not in {*names.values()}}
    found.failed += [f"{what}, {name}: {why}" for what, reasons in jobs.items() for name, why in reasons.items()]
    return found


def _look(platform: Platform, key: SessionKey, name: str, found: Digest, ledger: Ledger) -> None:
    seen, failing = look_at(platform.at(key)), ledger.failing.get(name, {})
    standings = seen.standings(platform.settings)
    arrival = seen.arrival(platform.settings, now_ns=time.time_ns())
    due = {asset: one for asset, one in standings.items() if not one.is_current}
    partial = {asset: one for asset, one in due.items() if one.failed_fovs and one.reasons == one.failed_fovs}
    if partial:
        found.partial.append(f"{name}: {'; '.join(f'{asset}: {_why(one)}' for asset, one in partial.items())}")
    due = {asset: one for asset, one in due.items() if asset not in partial}
    if failures := {asset: why for asset, why in failing.items() if asset in due or asset not in standings}:
        found.failed += [f"{name}, {asset}: {why}" for asset, why in failures.items()]
    if not due:
        found.n_whole += not partial
        if not partial:
            _tell_done(str(key), name, max((m.published_at for m in seen.made.values()), default=""), found, ledger)
    elif not arrival.ready:
        found.waiting.append(f"{name}: {arrival.reason}")
    elif waits := {asset: one for asset, one in due.items() if one.reasons == one.waits}:
        found.waiting.append(f"{name}: {'; '.join(f'{asset}: {_why(one)}' for asset, one in waits.items())}")
    if stale := {asset: one for asset, one in due.items() if one.manifest is not None and one.reasons != one.waits}:
        found.stale.append(f"{name}: {'; '.join(f'{asset}: {_why(one)}' for asset, one in stale.items())}")
    if (verdict := last_verdict(seen.session.path)) is not None and verdict.faults:
        found.audit.append(f"{name}: {verdict.summary}")


def _tell_done(key: str, name: str, published_at: str, found: Digest, ledger: Ledger) -> None:
    """Tell of a session that is whole since the last digest, once: machines publish by clocks of their own."""
    last = datetime.fromisoformat(ledger.digest_at).timestamp() if ledger.digest_at else time.time() - _DAY_S
    if published_at >= iso(last - CLOCKS_DIFFER_S) and ledger.done.get(key) != published_at:
        found.done.append(name)
    if published_at >= iso(time.time() - CLOCKS_DIFFER_S):
        found.recent[key] = published_at


def _why(standing: Standing) -> str:
    return ", ".join(standing.reasons)


def iso(at: float) -> str:
    """Time as manifests have it."""
    return datetime.fromtimestamp(at, tz=UTC).isoformat(timespec="seconds")
