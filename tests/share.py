"""A folder that has the limits of network shares, for tests: mounted, so that every program meets these limits."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from meso_core.processes import end_with_parent
from tests.conftest import unavailable
from tests.share_server import WORST, Limits, limits_as_text

_MOUNTED_WITHIN_S = 20.0


class Share:
    """A mounted share.

    Parameters
    ----------
    folder
        Its own folder; the share is mounted at ``folder / "mount"``, and its files lie in ``folder / "backing"``.
    limits
        What it cannot do.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.limits = limits
        self.mount, self.backing = folder / "mount", folder / "backing"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Mount the share, or mount it again; its files stay what they are."""
        for made in (self.mount, self.backing):
            made.mkdir(parents=True, exist_ok=True)
        program = Path(__file__).with_name("share_server.py")
        self._process = subprocess.Popen(
            [sys.executable, program, self.backing, self.mount, limits_as_text(self.limits)],
            stderr=subprocess.PIPE,
            preexec_fn=partial(end_with_parent, os.getpid()),
        )
        until = time.monotonic() + _MOUNTED_WITHIN_S
        while not self.mount.is_mount():
            if self._process.poll() is not None or time.monotonic() > until:
                said = (self._process.communicate()[1] or b"").decode(errors="replace")
                self.kill()
                if any(no in said for no in ("not permitted", "Permission denied")):
                    pytest.skip(f"this machine lets nobody mount file systems ({said.strip()[-300:]})")
                unavailable("a mounted share", f"install fuse3 and allow /dev/fuse ({said.strip()[-300:]})")
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill the server: from now on nothing on the share can be read or written, until it starts again."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        if self._process.stderr:
            self._process.stderr.close()
        self._process = None
        self._unmount()

    def hang_up(self) -> None:
        """Kill the server and leave the mount as it is: each call on it fails (ENOTCONN)."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _unmount(self) -> None:
        for command in (["umount", "-l"], ["fusermount3", "-uz"], ["fusermount", "-uz"]):
            with suppress(FileNotFoundError):
                if not subprocess.run([*command, self.mount], capture_output=True).returncode:
                    return


@contextmanager
def mounted(folder: Path, limits: Limits = WORST) -> Iterator[Share]:
    """Mount a share for a while."""
    if not Path("/dev/fuse").exists():
        pytest.skip("there is no /dev/fuse: this machine lets nobody mount file systems")  # no package brings it
    share = Share(folder, limits)
    try:
        share.start()
        yield share
    finally:
        share.kill()


@pytest.fixture
def make_share(tmp_path: Path) -> Iterator[Callable[..., Share]]:
    """``make_share(no_links=errno.EPERM, …)`` mounts a share with these limits; without any, with all."""
    with ExitStack() as until_end:
        made: list[Share] = []

        def make(**limits: object) -> Share:
            folder = tmp_path / f"share-{len(made)}"
            share = until_end.enter_context(mounted(folder, Limits(**limits) if limits else WORST))
            made.append(share)
            return share

        yield make
