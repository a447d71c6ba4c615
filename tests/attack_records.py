"""What was tried against meso and what survived: records that add up over parts, and the table of them.

A row is named ``kind: what``, as in ``kills: head of a run, multiprocess``.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
#: Environment variable that names the file to which a run of tests adds its records.
INTO = "MESO_TEST_RECORDS"


@lru_cache(maxsize=1)
def commit() -> str:
    """Tell which code is attacked: the commit, with ``+`` where something was changed since."""
    described = ["git", "-C", str(REPOSITORY), "describe", "--always", "--abbrev=10", "--exclude=*", "--dirty=+"]
    told = subprocess.run(described, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


@dataclass(frozen=True)
class Record:
    """So many attacks of one sort, and what each failure was."""

    row: str
    tried: int
    failures: tuple[str, ...] = ()
    #: How many did not survive; more than there are failures, where a test of many stopped at the first.
    lost: int = 0
    commit: str = field(default_factory=commit)

    def __post_init__(self) -> None:
        kind, _, what = self.row.partition(": ")
        if not (kind and what):
            raise ValueError(f"a row is named 'kind: what', not {self.row!r}")


def write(file: Path, record: Record) -> None:
    """Add a record; a campaign that is stopped leaves what it has done."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.write(json.dumps(asdict(record)) + "\n")


def read(folder: Path) -> Iterator[Record]:
    """Read the records of all parts."""
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            found = json.loads(line)
            yield Record(**{**found, "failures": tuple(found["failures"])})


def summed(records: Iterable[Record]) -> dict[str, Record]:
    """Add up the records of each row."""
    rows: dict[str, Record] = {}
    for one in records:
        so_far = rows.get(one.row, Record(one.row, 0, commit=one.commit))
        rows[one.row] = Record(
            one.row, so_far.tried + one.tried, so_far.failures + one.failures, so_far.lost + one.lost, one.commit
        )
    return dict(sorted(rows.items()))


def table(records: Sequence[Record]) -> str:
    """Draw the table in Markdown: a row for each sort of attack, and the sum of each kind."""
    lines = ["| attack | what | tried | survived | failures |", "| --- | --- | ---: | ---: | --- |"]
    kinds: dict[str, list[Record]] = {}
    for row in summed(records).values():
        kinds.setdefault(row.row.partition(": ")[0], []).append(row)
    for kind, rows in kinds.items():
        tried, lost = sum(r.tried for r in rows), sum(r.lost for r in rows)
        lines.append(f"| **{kind}** | **all** | **{tried}** | **{tried - lost}** | {lost} |")
        for row in rows:
            what, why = row.row.partition(": ")[2], "; ".join(map(_one_line, row.failures))
            lines.append(f"| {kind} | {what} | {row.tried} | {row.tried - row.lost} | {why or '0'} |")
    commits = sorted({record.commit for record in records})
    return "\n".join([*lines, "", f"Commits: {', '.join(f'`{one}`' for one in commits)}"])


def _one_line(text: str) -> str:
    return " ".join(text.replace("|", "/").split())[:300]
