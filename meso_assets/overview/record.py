"""What the overview shows, as JSON values: small, for a lab has thousands of sessions.

What belongs here: the form in which the page's script gets the cells. The words are those of ``runs.status.cells``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from meso_core.session import PassedOver

from ..defs.catalogue import CATALOGUE
from ..runs.status.cells import AssetStatus, SessionCells, State


@dataclass(frozen=True, slots=True)
class Overview:
    """All sessions of a root at one time."""

    root: str
    #: When the page was made, ISO 8601, UTC.
    made_at: str
    sessions: tuple[SessionCells, ...]
    passed_over: tuple[PassedOver, ...]
    #: Where the interface answers, for links of the page as a file; empty where it is not known.
    interface: str = ""
    #: How long the look at the sessions took, s.
    seconds: float = 0.0

    def as_record(self) -> dict[str, Any]:
        """Return JSON values. Texts stand once, in ``texts``, and are named by their number."""
        texts = _Texts()
        states = [state.value for state in State]
        order = [list(CATALOGUE).index(name) for name in _columns()]
        sessions = [_session(one, order, texts) for one in self.sessions]
        return {
            "root": self.root,
            "made_at": self.made_at,
            "interface": self.interface,
            "assets": [[name, CATALOGUE[name].group] for name in _columns()],
            "states": states,
            "sessions": sessions,
            "passed_over": [[passed.path, passed.reason] for passed in self.passed_over],
            "texts": texts.all,
        }


class _Texts:
    """Texts by number; 0 is the empty one."""

    def __init__(self) -> None:
        self.all = [""]
        self._numbers = {"": 0}

    def number(self, text: str) -> int:
        if (known := self._numbers.get(text)) is not None:
            return known
        self._numbers[text] = len(self.all)
        self.all.append(text)
        return len(self.all) - 1


_STATE_NUMBERS = {state: number for number, state in enumerate(State)}


def _columns() -> list[str]:
    """Assets in the order of their columns: each group once, at the place of its first one in the catalogue."""
    groups = list(dict.fromkeys(declared.group for declared in CATALOGUE.values()))
    return sorted(CATALOGUE, key=lambda name: groups.index(CATALOGUE[name].group))


def _session(one: SessionCells, order: Sequence[int], texts: _Texts) -> list[Any]:
    """Key, standing, cells, raw bytes, place (empty: the key; of several roots, whole), why not, remarks, a verdict."""
    return [
        one.session,
        one.standing,
        [_cell(one.cells[place], texts) for place in order],
        one.raw_bytes,
        "" if one.place == one.session else one.place,
        texts.number(one.waits),
        [texts.number(text) for text in one.remarks],
        texts.number(one.said),
    ]


def _cell(cell: AssetStatus, texts: _Texts) -> int | list[Any]:
    """State, why, published, bytes, files, verdict, its why, run, attempt, figures; the state alone if that is all."""
    if cell.state is State.MISSING and not (cell.why or cell.attempt_run_id or cell.verdict_why):  # most are
        return _STATE_NUMBERS[cell.state]
    values: Sequence[Any] = (
        _STATE_NUMBERS[cell.state],
        texts.number(cell.why),
        cell.published_at,
        cell.n_bytes,
        cell.n_files,
        cell.verdict,
        texts.number(cell.verdict_why),
        texts.number(cell.run_id),
        texts.number(cell.attempt_run_id),
        [texts.number(path) for path in cell.shown],
    )
    shown = list(values)
    while len(shown) > 1 and not shown[-1]:
        shown.pop()
    return shown[0] if len(shown) == 1 else shown
