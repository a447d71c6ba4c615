"""The words of `meso status` and the overview: in which state an asset of a session is, and why.

What belongs here: the values that are shown, whoever shows them. How they are found is in ``status`` and ``attempts``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any


class State(Enum):
    """Where an asset of a session stands."""

    DONE = "done"
    #: Done, but for fields of view that failed.
    PARTIAL = "partial"
    STALE = "stale"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    #: A run makes it now.
    RUNNING = "running"
    MISSING = "missing"
    #: The session has nothing that it could be made of.
    NOT_APPLICABLE = "not applicable"
    #: It waits for a server.
    PENDING = "pending"
    #: It may not be sent to a server.
    WITHHELD = "withheld"
    #: The session cannot be looked at.
    UNREADABLE = "unreadable"


#: From what wants a person most to what wants nobody.
GRAVEST_FIRST = (
    State.UNREADABLE,
    State.FAILED,
    State.INTERRUPTED,
    State.RUNNING,
    State.PARTIAL,
    State.STALE,
    State.MISSING,
    State.PENDING,
    State.WITHHELD,
)


@dataclass(frozen=True, slots=True)
class Failure:
    """How the last attempt at an asset ended, or that it goes on."""

    state: State
    why: str
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class AssetStatus:
    """One cell of the table."""

    asset: str
    state: State
    #: Why it is partial, stale, failed, interrupted, pending or withheld; of one that is done, what is special.
    why: str = ""
    #: When it was published, ISO 8601.
    published_at: str = ""
    #: Number and bytes of its files.
    n_files: int = 0
    n_bytes: int = 0
    #: Worst of its verdicts (``PASS``, ``WARNING``, ``FAIL``), and what did not pass; empty where there is none.
    verdict: str = ""
    verdict_why: str = ""
    #: The run that made it, and the last one that tried to and did not, or tries to now.
    run_id: str = ""
    attempt_run_id: str = ""
    #: Its figures and reports, by path below the session.
    shown: tuple[str, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**asdict(self), "state": self.state.value}


@dataclass(frozen=True, slots=True)
class SessionCells:
    """How the assets of one session stand."""

    #: Name of the session.
    session: str
    #: In the order of the catalogue.
    cells: tuple[AssetStatus, ...]
    #: What is not as usual in its folder.
    remarks: tuple[str, ...]
    #: Why the session is not ready to be run; empty where it is.
    waits: str = ""
    #: Where it lies, below the root.
    place: str = ""
    #: Bytes of what the rig left.
    raw_bytes: int = 0
    #: Text of its key, as records on the disk have it.
    key: str = ""
    #: What a person says of it that is in force, in words; empty where nobody has said anything.
    said: str = ""

    @property
    def all_remarks(self) -> tuple[str, ...]:
        """What is not as usual, why the session waits, and what a person says of it, in sentences."""
        said = [f"a person: {self.said}"] if self.said else []
        return (*([f"not ready: {self.waits}"] if self.waits else []), *said, *self.remarks)

    @property
    def standing(self) -> str:
        """One word for all of it: that of the asset which wants a person most, or ``whole``."""
        states = {cell.state for cell in self.cells}
        return next((state.value for state in GRAVEST_FIRST if state in states), "whole")
