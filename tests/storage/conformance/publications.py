"""Publishing in tests of the conformance suite, in this process or as a program that can be killed.

As a program it reads orders from its standard input, one a line, and does each in a fork, so that a killed one costs
no new start. ``{"root", "scratch", "files": {path: text}, "run", "step"}`` publishes; ``step`` kills it before that
change of the local disk, counted from 1.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from meso_core.session import SessionKey
from meso_core.storage import Basis, MadeBy, Manifest, Session, SessionStore

KEY = SessionKey.parse("SP035/2023-03-03/001")
ASSET = "rois"
BASIS = Basis("1", {"raw_frames": "abc"}, {"batch": 500})


def publish(store: SessionStore, files: Mapping[str, bytes], run: str = "run-1", asset: str = ASSET) -> Manifest:
    """Publish files as one asset."""
    staging = store.stage(KEY, asset)
    for path, content in files.items():
        staging.write(path, content)
    return store.publish(KEY, staging.seal(), BASIS, MadeBy(run))


def publish_as_a_run(store: SessionStore, files: Mapping[str, bytes], run: str) -> Manifest:
    """Publish as a run does: it claims the asset, and waits while another run makes it."""
    from meso_assets.defs.running.remote_claims import claims_of

    session = Session(KEY, store.local(KEY), store)
    claims = claims_of(session, run)
    claims.wait_for([ASSET], lambda _: None)
    try:
        return publish(store, files, run)
    finally:
        claims.give_all_back()


class Publisher:
    """A program that publishes; its forks can be killed."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        here = Path(__file__).resolve()
        self._process = subprocess.Popen(
            [sys.executable, here],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{here.parents[3]}:{here.parents[2]}", **environment},
        )
        self._pid = 0

    def begin(
        self, root: str, scratch: Path, files: Mapping[str, bytes], run: str = "run-2", step: int | None = None
    ) -> None:
        """Let a fork publish."""
        text = {path: content.decode("latin-1") for path, content in files.items()}
        self._say({"root": root, "scratch": str(scratch), "files": text, "run": run, "step": step})
        self._pid = int(self._hear())

    def kill(self) -> None:
        """Kill the fork."""
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(self._pid, signal.SIGKILL)

    def end(self) -> str:
        """Wait for the fork; returns ``killed``, ``published``, or what went wrong."""
        return self._hear()

    def close(self) -> None:
        """End the program."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _say(self, order: Mapping[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().rstrip("\n")


@contextmanager
def publisher(environment: Mapping[str, str]) -> Iterator[Publisher]:
    """Start a program that publishes, and end it."""
    program = Publisher(environment)
    try:
        yield program
    finally:
        program.close()


def _work(order: Mapping[str, Any]) -> str:
    """Publish; returns what happened."""
    from meso_core.errors import MesoError
    from tests.kills import count_to
    from tests.storage.conformance.backends import open_root

    if order["step"]:
        count_to(order["step"])
    files = {path: text.encode("latin-1") for path, text in order["files"].items()}
    try:
        publish_as_a_run(open_root(order["root"], Path(order["scratch"])), files, order["run"])
    except MesoError as error:
        return f"{type(error).__name__}: {error}"
    return "published"


def _main() -> None:
    warnings.simplefilter("ignore")
    import meso_assets.defs.running.remote_claims  # noqa: F401
    import tests.storage.conformance.backends  # noqa: F401  loaded once, for all forks

    for line in sys.stdin:
        reader, writer = os.pipe()
        if not (child := os.fork()):
            os.close(reader)
            status = 1
            try:
                os.write(writer, _work(json.loads(line)).replace("\n", " ").encode())
                status = 0
            finally:
                os._exit(status)
        os.close(writer)
        print(child, flush=True)
        with os.fdopen(reader) as told:
            said = told.read()
        status = os.waitpid(child, 0)[1]
        print("killed" if os.WIFSIGNALED(status) else said or "failed", flush=True)


if __name__ == "__main__":
    _main()
