"""Programs run with the rights of an ordinary user, where the tests themselves are run by root.

A process of root without capabilities has the rights that the owner of a file has, and no more: a folder that nobody
may read is closed to it too. It still reaches an interpreter that only root may enter, which another user would not.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

_CAP_DAC_OVERRIDE = 1


def ignores_rights() -> bool:
    """Whether this process may read and write everything, whatever the rights of a file say."""
    if not sys.platform.startswith("linux"):
        return os.geteuid() == 0
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return bool(int(status["CapEff"], 16) >> _CAP_DAC_OVERRIDE & 1)


def prefix() -> list[str]:
    """Begin a command line with this: what follows is run with the rights of an ordinary user."""
    if not ignores_rights():
        return []
    if shutil.which("setpriv") is None:
        raise LookupError("setpriv, of util-linux, is not there")
    return ["setpriv", "--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"]
