"""Room for what was fetched: a folder with a limit, cleaned of what nobody uses.

What belongs here: who uses which mirror, and what may go. What does not: what a mirror holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Scratch:
    """The scratch folder of this machine."""

    folder: Path
    limit_bytes: int

    @contextmanager
    def use(self, folder: Path) -> Iterator[Path]:
        """Hold a mirror for this process: nothing in it is removed meanwhile."""
        folder.mkdir(parents=True, exist_ok=True)
        yield folder

    def make_room(self, needed: int) -> None:
        """Remove fetched files until this many bytes more fit within the limit."""
