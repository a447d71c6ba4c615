"""The numbers of events: SQLite keeps a file for each run with numbers of its own, PostgreSQL one table for all.

What belongs here: which number each event gets. Events name others by number (what was read, what was checked), and
sensors remember how far they came: those numbers are the ones of ``index.db``. Their order is kept, and the other lines
of a run's log come between them, in the order of the run.
"""

from __future__ import annotations

import re
import sqlite3
from array import array
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from meso_core.progress import Progress, silent

INDEX = "history/runs/index.db"
#: An event among the fields of another names it so; what SQLite knows of its layout is Dagster's.
_POINTER = re.compile(r'("dagster/input_event_pointer/(?:[^"\\]|\\.)*": ")(\d+)(")')
_CHECKED = re.compile(r'(\{"__class__": "AssetCheckEvaluationTargetMaterializationData"[^{}]*"storage_id": )(\d+)()')
_OF_RECORD = re.compile(r'(\A\{"__class__": "EventLogRecord".*"storage_id": )(\d+)(\}\Z)', re.DOTALL)
POINTER_TAG = "dagster/input_event_pointer/"


def opened(file: Path) -> sqlite3.Connection:
    """Open a file of records to read it alone."""
    return sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a run's log that ``index.db`` does not have."""

    #: Its number in the file of the run.
    old: int
    new: int


class Numbers:
    """Old and new numbers of all events of a home.

    Parameters
    ----------
    home
        Folder of the records, which nobody uses.
    progress
        Told the logs that were read.
    """

    def __init__(self, home: Path, progress: Progress = silent) -> None:
        self._home = home
        with closing(opened(home / INDEX)) as index:
            self._old = array("q", (row[0] for row in index.execute("SELECT id FROM event_logs ORDER BY id")))
        logs = (home / "history" / "runs").glob("*.db")
        #: The files of the runs; that of events of no run is called ``.db``.
        self.logs = sorted(path for path in logs if path.name != Path(INDEX).name)
        #: Events by run, as the run's log tells them.
        self.by_run: Counter[str] = Counter()
        behind = array("q", [0]) * (len(self._old) + 1)
        for n, log in enumerate(self.logs, 1):
            for place, _ in self._walked(log):
                behind[place] += 1
                self.by_run[log.stem.removeprefix(".db")] += 1
            progress(n, len(self.logs), "logs of runs read")
        self._new, self._free = array("q"), array("q")
        number = 0
        for place, lines in enumerate(behind):
            if place:
                number += 1
                self._new.append(number)
            self._free.append(number + 1)
            number += lines
        #: Number of all events.
        self.n_events = number
        with closing(opened(home / INDEX)) as index:
            self.by_run.update(dict(index.execute("SELECT run_id, count(*) FROM event_logs GROUP BY run_id")))

    def of(self, old: int) -> int:
        """Return the new number of an event, or of the last one before it where it is gone; 0 before the first."""
        place = bisect_right(self._old, old)
        return self._new[place - 1] if place else 0

    def knows(self, old: int) -> bool:
        """Whether an event of this number is there."""
        place = bisect_right(self._old, old)
        return bool(place) and self._old[place - 1] == old

    def lines(self, log: Path) -> Iterator[LogLine]:
        """Lines of a log that ``index.db`` does not have; call it once for each log, in order."""
        for place, old in self._walked(log):
            yield LogLine(old, self._free[place])
            self._free[place] += 1

    def moved(self, text: str | None) -> str | None:
        """Give the events that a text of Dagster's names their new numbers."""
        if text is None or ('"storage_id"' not in text and POINTER_TAG not in text):
            return text
        for pattern in (_POINTER, _CHECKED, _OF_RECORD):
            text = pattern.sub(lambda m: f"{m[1]}{self.of(int(m[2]))}{m[3]}", text)
        return text

    def _walked(self, log: Path) -> Iterator[tuple[int, int]]:
        """Yield for each line that ``index.db`` does not have the place of the last event before, and its number."""
        mirrored = self._mirrored(log)
        place = 0
        with closing(opened(log)) as database:
            for number, event in database.execute("SELECT id, event FROM event_logs ORDER BY id"):
                if (same := mirrored(event)) is None:
                    yield place, number
                else:
                    place = max(place, bisect_right(self._old, same))

    def _mirrored(self, log: Path) -> Callable[[str], int | None]:
        """Make the question which event of ``index.db`` a line of a log is; it is written there word for word."""
        run_id = log.stem.removeprefix(".db")
        known: dict[int, list[int]] = defaultdict(list)
        with closing(opened(self._home / INDEX)) as index:
            asked = "SELECT id, event FROM event_logs WHERE run_id = ? ORDER BY id DESC"
            for number, event in index.execute(asked, (run_id,)):
                known[hash(event)].append(number)

        def found(event: str) -> int | None:
            numbers = known.get(hash(event))
            return numbers.pop() if numbers else None

        return found
