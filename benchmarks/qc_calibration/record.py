"""What was judged of which session, on disk, so that a sweep goes on where it was stopped.

One line per part of a session, as JSON. Verdicts are made anew of the stored values, with the limits of now; a part is
judged again where code that it goes through has changed.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import meso_core
from meso_core.imaging.fovs.threads import one_thread
from meso_core.json_text import json_text
from meso_core.qc import QCResult, Verdict, judged

from .sessions import Session

_CORE = Path(meso_core.__file__).parent


@dataclass(frozen=True)
class Part:
    """Some of the verdicts on a session."""

    name: str
    judge: Callable[[Session], tuple[QCResult, ...]]
    #: Makes all sessions alike that this part cannot tell apart.
    alike: Callable[[Session], Session]
    #: Below ``meso_core``: the code that it goes through.
    code: tuple[str, ...]

    def stamp(self) -> str:
        """Digest of that code, and of the calibration's own; comments and docstrings have no part in it."""
        places = [Path(__file__).with_name("parts.py"), Path(__file__).with_name("whole.py")]
        places += [_CORE / place for place in self.code]
        files = [file for place in places for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]
        return hashlib.sha256("\0".join(_meaning(file) for file in files).encode()).hexdigest()[:12]


def _meaning(file: Path) -> str:
    """Code of a file without what only people read."""
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


class Record:
    """Verdicts that were made, in memory and in a file.

    Parameters
    ----------
    file
        Where they are kept, and where those of earlier runs are read; None for nowhere.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._stamps: dict[str, str] = {}
        self._known: dict[str, tuple[QCResult, ...]] = {}
        if file is not None and file.is_file():
            *lines, cut = file.read_text().split("\n")  # a sweep that was stopped may leave a part of a line
            for one in map(json.loads, lines):
                self._known[one["of"]] = tuple(_result(**result) for result in one["results"])
            if cut:
                file.write_text("".join(f"{line}\n" for line in lines))

    def results(self, part: Part, session: Session) -> tuple[QCResult, ...]:
        """Verdicts of a part on a session, with the limits of now."""
        if part.name not in self._stamps:
            self._stamps[part.name] = part.stamp()
        of = json_text([part.name, self._stamps[part.name], asdict(part.alike(session))])
        if of not in self._known:
            with one_thread():
                self._known[of] = part.judge(part.alike(session))
            self._keep(of)
        return tuple(judged(one) for one in self._known[of])

    def _keep(self, of: str) -> None:
        if self._file is None:
            return
        results = [{"check": one.check, "verdict": one.verdict.name, "value": one.value} for one in self._known[of]]
        with self._file.open("a") as file:
            file.write(json_text({"of": of, "results": results}) + "\n")


def _result(check: str, verdict: str, value: float | int | str | None) -> QCResult:
    return QCResult(check, Verdict[verdict], value, None, "", "calibration")


def values(results: tuple[QCResult, ...]) -> Mapping[str, float | int | str | None]:
    """Check → value."""
    return {one.check: one.value for one in results}
