"""Sweep both studies, and print what ``docs/qc.md`` shows."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from . import LONG_STUDY, SHORT_STUDY, Record, Study, false_alarms_in_words, on_page, table


def main() -> None:
    """Judge and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.qc_calibration")
    parser.add_argument("sessions", nargs="?", type=int, default=200, help="good sessions; of a fault a sixtieth")
    parser.add_argument("--record", type=Path, help="file that keeps what was judged; a stopped sweep goes on from it")
    parser.add_argument("--page", type=Path, help="docs/qc.md: what was printed is put into it")
    asked = parser.parse_args()
    began, record = time.monotonic(), Record(asked.record)
    faulty = max(asked.sessions // 60, 2)
    printed = [
        _print("long sessions", LONG_STUDY, asked.sessions, faulty, record),
        _print("short sessions, with suite2p", SHORT_STUDY, max(asked.sessions // 20, 3), max(faulty - 1, 1), record),
    ]
    if asked.page is not None:
        asked.page.write_text(on_page(asked.page.read_text(), printed))
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)


def _print(name: str, study: Study, n_good: int, n_faulty: int, record: Record) -> str:
    sentence = false_alarms_in_words(*study.false_alarms(range(n_good), record))
    print(f"{name}: {sentence}\n", flush=True)
    rows = table(study.sweep(range(1000, 1000 + n_faulty), record))
    print(rows + "\n", flush=True)
    return f"{sentence}\n\n{rows}"


if __name__ == "__main__":
    main()
