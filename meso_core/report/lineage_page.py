"""The lineage of a session as a page: which run made each result, of what, and what the last audit found.

What belongs here: the page, and its values in words. What does not: comparing then and now (``lineage``), and where
runs can be looked at (the platform hands addresses over). Unlike the report it is made when it is asked for, so that
it tells what holds at that time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..counting import counted
from ..lineage import LastAudit, ResultLineage
from ..qc import Verdict
from .page.parts import SIGNS
from .page.render import number, render

_GOOD, _LOOK, _BAD = (SIGNS[verdict] for verdict in (Verdict.PASS, Verdict.WARNING, Verdict.FAIL))
#: Word for how a result stands → sign (told apart without colour), and class of the style sheet.
STATES: Mapping[str, tuple[str, str]] = {
    "done": ("✓", "pass"),
    "partial": ("◐", "warning"),
    "stale": ("↻", "warning"),
    "failed": ("✕", "fail"),
    "interrupted": ("‖", "fail"),
    "running": ("▸", "none"),
    "missing": ("–", "none"),
    "not applicable": ("·", "none"),
    "pending": ("…", "none"),
    "withheld": ("⊘", "none"),
}
#: Findings that are shown; a session that was moved away has thousands.
_MOST_FINDINGS = 100


@dataclass(frozen=True, slots=True)
class ShownRun:
    """A run that made a result."""

    run_id: str
    #: Where it can be looked at, relative to the page; empty where the records know no such run.
    address: str = ""

    @property
    def short(self) -> str:
        """The part of its id by which people call it."""
        return self.run_id[:8]


@dataclass(frozen=True, slots=True)
class ShownResult:
    """A result on the page."""

    lineage: ResultLineage
    #: Group of assets that it belongs to.
    group: str
    #: How it stands, a word of ``STATES``, and why.
    state: str
    why: str = ""
    #: The run that made it; None where it was not made.
    run: ShownRun | None = None
    #: Where the asset can be looked at, relative to the page.
    address: str = ""
    #: Where it was made with other settings: what a person sets so that it counts as it is.
    to_keep: str = ""

    @property
    def name(self) -> str:
        """Name of the asset."""
        return self.lineage.asset

    @property
    def look(self) -> tuple[str, str]:
        """Sign and class."""
        return STATES.get(self.state, ("?", "warning"))


@dataclass(frozen=True, slots=True)
class GivenInput:
    """What no run makes: raw files of a kind, or what people said."""

    name: str
    version: str
    #: What it is, in words.
    told: str
    n_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class SessionLineage:
    """All that the page tells.

    Attributes
    ----------
    session
        Name of the session, which commands take.
    key
        Its text in records.
    at
        When it was looked at, ISO 8601, UTC.
    results
        In an order in which those that are read come first.
    given
        What the rig left and people said.
    audit, audit_damaged
        What the last audit found; why that cannot be read.
    audit_address
        Where an audit can be started, relative to the page.
    damaged
        Records that cannot be read, a sentence each.
    links
        Text → address of other pages of the session, relative to the page.
    """

    session: str
    key: str
    at: str
    results: Sequence[ShownResult]
    given: Sequence[GivenInput] = ()
    audit: LastAudit | None = None
    audit_damaged: str = ""
    audit_address: str = ""
    damaged: Sequence[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def made(self) -> tuple[ShownResult, ...]:
        """Results that were made."""
        return tuple(one for one in self.results if one.lineage.manifest is not None)

    @property
    def overall(self) -> tuple[str, str, str]:
        """Sign, class and sentence: how many of the results are current."""
        made, wanted = self.made, [one for one in self.results if one.state != "not applicable"]
        current = [one for one in made if not one.lineage.reasons]
        told = f"{len(current)} of {counted(len(wanted), 'result')} made and current"
        others = [f"{len(made) - len(current)} out of date"] if len(made) > len(current) else []
        if missing := sum(one.lineage.manifest is None for one in wanted):
            others.append(f"{missing} not made")
        sign, _, look = _LOOK if others or self.damaged else _GOOD
        return sign, look, ", ".join([told, *others])

    @property
    def audited(self) -> tuple[str, str, str]:
        """Sign, class and sentence of the last audit."""
        if self.audit_damaged:
            return _BAD[0], _BAD[2], "The last audit cannot be read"
        if self.audit is None:
            return "–", "none", "Never audited"
        n = len(self.audit.verdict.faults)
        found = counted(n, "finding") if n else "all as recorded"
        sign, _, look = _BAD if n else _LOOK if self.since_audit else _GOOD
        return sign, look, f"Audit of {day(self.audit.at)}: {found}"

    @property
    def since_audit(self) -> tuple[str, ...]:
        """Results that were published after the last audit."""
        if self.audit is None:
            return ()
        at = self.audit.at
        return tuple(one.name for one in self.made if one.lineage.manifest and one.lineage.manifest.published_at > at)

    def as_record(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "session": self.session,
            "at": self.at,
            "results": [
                {**one.lineage.as_record(), "state": one.state, "why": one.why, "to_keep": one.to_keep}
                for one in self.results
            ],
            "given": [asdict(one) for one in self.given],
            "audit": None if self.audit is None else {"at": self.audit.at, **self.audit.verdict.as_record()},
            "damaged": [*self.damaged, *([self.audit_damaged] if self.audit_damaged else [])],
        }


def make_lineage_page(page: SessionLineage) -> bytes:
    """Make the page; equal values give equal bytes."""
    return render(
        "lineage.html", page=page, names={one.name for one in page.results}, most=_MOST_FINDINGS, when=when, mb=_mb
    ).encode()


def when(iso: str) -> str:
    """Write a time of a record for a person: day and minute, UTC."""
    return f"{iso[:16].replace('T', ' ')} UTC" if iso else "–"


def day(iso: str) -> str:
    """Day of a time of a record."""
    return iso[:10]


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 50_000 else f"{number(round(n_bytes / 1e3, 1))} kB"
