"""Run all benchmarks, or those named, and print one table in Markdown."""

from __future__ import annotations

import argparse
import importlib
import os
import pathlib
import sys

from . import Row


def topics() -> list[str]:
    """Names of the benchmarks that exist."""
    return sorted(p.stem.removeprefix("bench_") for p in pathlib.Path(__file__).parent.glob("bench_*.py"))


def table(rows: list[Row]) -> str:
    """Lay out rows as a Markdown table."""
    lines = ["| what | peer | ours | ratio | goal | on |", "| --- | ---: | ---: | ---: | --- | --- |"]
    for r in rows:
        figures = f"{r.peer:.4g} {r.unit} | {r.ours:.4g} {r.unit} | {r.ratio:.3g}"
        lines.append(f"| {r.what} | {figures} | {r.goal} | {r.on} |")
    return "\n".join(lines)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("topic", nargs="*", help=f"some of: {', '.join(topics())}; all when none is named")
    wanted = parser.parse_args().topic or topics()
    rows: list[Row] = []
    for topic in wanted:
        print(f"measuring {topic} …", file=sys.stderr, flush=True)
        measured = importlib.import_module(f"benchmarks.bench_{topic}").rows()
        # all take an hour: what the first have shown stays when a later one fails
        print("\n".join(table(measured).splitlines()[2:]), file=sys.stderr, flush=True)
        rows += measured
    print(f"{len(os.sched_getaffinity(0))} cores; ratio: how many times ours is better\n")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
