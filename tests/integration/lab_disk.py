"""A lab's disk in a hurry: sessions that arrive by slow copies, and ``meso serve`` beside them, for real.

What belongs here: copies as people and programs make them, the service, and asking what it has come to. What must come
of which session is in the tests.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from meso_assets.runs.settings.settings import MesoSettings
from meso_core.session import READY_FLAG
from tests.notice_servers import free_port

#: A file comes in so many pieces.
_PIECES = 3


@dataclass
class Copy:
    """A slow copy of a session's folder: files in random order, each in pieces, the flag last, times as of now."""

    source: Path
    target: Path
    #: How long it takes, s.
    seconds: float
    seed: int
    #: Folders that are not copied, as somebody would who forgot them.
    without: tuple[str, ...] = ()
    thread: threading.Thread = field(init=False)

    def start(self, share: float = 1.0) -> Copy:
        """Begin to copy in a thread; it is aborted after a share of the pieces, in the middle of a file."""
        self.thread = threading.Thread(target=self._copy, args=(share,), daemon=True)
        self.thread.start()
        return self

    def ended(self) -> bool:
        """Whether the copy has come to its end, or was aborted."""
        return not self.thread.is_alive()

    def _files(self) -> list[Path]:
        found = [path for path in sorted(self.source.rglob("*")) if path.is_file()]
        found = [path for path in found if not {*path.relative_to(self.source).parts} & {*self.without}]
        random.Random(self.seed).shuffle(found)
        return sorted(found, key=lambda path: path.name == READY_FLAG)

    def _copy(self, share: float) -> None:
        pieces = [(file, number) for file in self._files() for number in range(_PIECES)]
        pause = self.seconds / max(1, len(pieces))
        for file, number in pieces[: int(share * len(pieces))]:
            self._piece(file, number)
            time.sleep(pause)

    def _piece(self, file: Path, number: int) -> None:
        content = file.read_bytes()
        at = self.target / file.relative_to(self.source)
        at.parent.mkdir(parents=True, exist_ok=True)
        start, end = (len(content) * n // _PIECES for n in (number, number + 1))
        with at.open("ab" if number else "wb") as out:
            out.write(content[start:end])


@dataclass
class Service:
    """``meso serve`` on a disk."""

    settings: MesoSettings
    port: int
    log: Path
    process: subprocess.Popen[bytes]

    def page(self, path: str) -> str:
        """Read a page of the interface."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=120) as answer:
            text: str = answer.read().decode()
            return text

    def answers(self) -> bool:
        """Whether the interface is there."""
        assert self.process.poll() is None, self.tail()
        try:
            return "dagster_version" in self.page("/server_info")
        except OSError:
            return False

    def tail(self) -> str:
        """End of what the service has printed."""
        return self.log.read_text(errors="replace")[-4000:]


@contextmanager
def service(settings: MesoSettings, environment: Mapping[str, str]) -> Iterator[Service]:
    """Run ``meso serve`` until the end of the block."""
    port, log = free_port(), settings.home.parent / "serve.txt"
    own = {**os.environ, **settings.as_environment(), **environment}
    own.pop("DAGSTER_HOME", None)
    command = [sys.executable, "-c", "from meso_assets.cli import main; main()", "serve", "--port", str(port)]
    with log.open("wb") as out, subprocess.Popen(command, env=own, stdout=out, stderr=out) as process:
        made = Service(settings, port, log, process)
        try:
            wait_until(made.answers, 600, made.tail)
            yield made
        finally:
            process.terminate()
            process.wait(timeout=90)


def wait_until(true: Callable[[], bool], seconds: float, tell: Callable[[], str], every: float = 0.5) -> None:
    """Wait until something is the case; fail with what ``tell`` says where it does not come to that."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, tell()
        time.sleep(every)
