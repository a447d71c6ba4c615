"""What an audit finds, as typed values.

What belongs here: the kinds of findings, one finding, the verdict on a session, and their JSON. How they are
found is in ``audit``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from ..errors import problem
from ..qc import QCResult, Verdict


class Kind(Enum):
    """What is the matter."""

    #: A published file, or a record that Dagster knows of, is gone.
    MISSING = "missing"
    #: A published file has another content.
    CHANGED = "changed"
    #: A published file could not be read: nothing is known of its content.
    UNREAD = "unread"
    #: A file at a place where an asset publishes, which no record names.
    ORPHANED = "orphaned"
    #: Made from inputs that are others now.
    STALE = "stale"
    #: Made by another version of the code, or with other packages.
    OTHER_CODE = "other code"
    #: Made as it would be made now, but with other settings.
    OTHER_SETTINGS = "other settings"
    #: Dagster knows nothing of the record.
    UNREGISTERED = "unregistered"
    #: The record cannot be read.
    DAMAGED = "damaged"
    #: The record is not the one that was written.
    EDITED = "edited"
    #: The record is an earlier one, as a backup brings it back.
    EARLIER = "earlier"
    #: A replaced record is gone or was changed.
    HISTORY = "history"
    #: The record is that of another session.
    OTHER_SESSION = "other session"
    #: Times that cannot follow each other.
    CLOCK = "clock"
    #: A run is making the asset now.
    RUNNING = "running"
    #: A file that neither the rig nor an asset has put there.
    NOT_OURS = "not ours"

    @property
    def is_fault(self) -> bool:
        """Whether something is to be done; what is not made by meso, or is being made, is only told."""
        return self not in (Kind.RUNNING, Kind.NOT_OURS)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was recorded."""

    kind: Kind
    session: str
    #: Empty for a file that belongs to none.
    asset: str
    #: Path below the session; empty where the finding is about the asset as a whole.
    path: str
    expected: str
    found: str
    #: What a person does next.
    remedy: str
    #: Who has looked at it and leaves it as it is, when and why; empty where nobody has.
    accepted: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether something is to be done."""
        return self.kind.is_fault and not self.accepted

    def __str__(self) -> str:
        where = " ".join(part for part in (self.session, self.asset, self.path) if part)
        remedy = f"Accepted by {self.accepted}" if self.accepted else self.remedy
        return problem(where, expected=self.expected, found=self.found, remedy=remedy)

    def as_record(self) -> dict[str, str]:
        """Return plain values, for JSON."""
        return {**asdict(self), "kind": self.kind.value}


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """What an audit found in one session."""

    session: str
    #: Faults first, then what is only told.
    findings: tuple[Finding, ...]
    #: Whether the content of the files was compared, or their sizes and times only.
    deep: bool
    #: ISO 8601, UTC.
    audited_at: str
    #: Assets with a record, their files, and the bytes that were read.
    n_assets: int = 0
    n_files: int = 0
    bytes_read: int = 0

    @property
    def faults(self) -> tuple[Finding, ...]:
        """Findings that ask for something to be done."""
        return tuple(finding for finding in self.findings if finding.is_fault)

    @property
    def summary(self) -> str:
        """One line: what was found, by kind."""
        looked = f"{self.n_assets} assets, {self.n_files} files, {'contents' if self.deep else 'sizes and times'}"
        counts = Counter(f"{'accepted ' if one.accepted else ''}{one.kind.value}" for one in self.findings)
        found = ", ".join(f"{n} {kind}" for kind, n in counts.items())
        return f"{found or 'all as recorded'} ({looked})"

    def as_record(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**asdict(self), "findings": [finding.as_record() for finding in self.findings]}

    def as_check(self, name: str) -> QCResult:
        """Turn the verdict into the answer of an asset check."""
        verdict = Verdict.FAIL if self.faults else Verdict.PASS
        return QCResult(name, verdict, len(self.faults), 0, self.summary, "meso_core.lineage")


def read_verdict(record: Mapping[str, Any]) -> AuditVerdict:
    """Read what :meth:`AuditVerdict.as_record` gave."""
    findings = tuple(Finding(**{**one, "kind": Kind(one["kind"])}) for one in record["findings"])
    return AuditVerdict(**{**record, "findings": findings})
