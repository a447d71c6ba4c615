"""Files that hold secrets are for their owner, and a group at most.

What belongs here: looking at the rights of files, and saying what to do. What is secret in them is not read.
"""

from __future__ import annotations

import re
import stat
import warnings
from collections.abc import Iterable
from pathlib import Path

from meso_core.errors import MesoWarning, SettingsError, problem

from .variables import settings_file

#: Where a unit of systemd reads the environment from (docs/service.md); and what Dagster reads where it is started.
ENVIRONMENT_FILES = (Path("/etc/meso/environment"), Path(".env"))
#: A line that gives a value to what is named so is a secret.
_SECRET = re.compile(
    rb"^\s*(?:export\s+)?\w*(?:PASSWORD|TOKEN|SECRET|ACCESS_KEY|PASSPHRASE|MESO_NOTICES)\w*\s*=\s*[\"']?[^\s\"'#]"
    rb"|^[^#\n]*://[^/\s:@]+:[^/\s@]+@",  # a user with a password, in an address
    re.MULTILINE | re.IGNORECASE,
)
_LOOKED_AT = 1 << 20


def may_be_read_by_all(file: Path) -> bool:
    """Whether every user of the machine may read or change a file."""
    return bool(file.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH))


def insist_on_secrecy(file: Path) -> None:
    """Refuse a file of secrets that everybody may read; one that is not there passes, for who reads it says so.

    Raises
    ------
    SettingsError
        With the command that mends it.
    """
    if file.is_file() and may_be_read_by_all(file):
        raise SettingsError(_told(file))


def warn_of_open_files(files: Iterable[Path] | None = None) -> None:
    """Warn of files of settings that hold secrets and that everybody may read.

    Parameters
    ----------
    files
        By default the environment of the service, ``.env``, and the file of settings.

    Warns
    -----
    MesoWarning
        With the command that mends it.
    """
    if files is None:
        own = settings_file()
        files = (*ENVIRONMENT_FILES, *([own] if own else []))
    for file in files:
        if _holds_secrets(file) and may_be_read_by_all(file):
            warnings.warn(_told(file), MesoWarning, stacklevel=2)


def _holds_secrets(file: Path) -> bool:
    try:
        if not file.is_file():
            return False
        with file.open("rb") as opened:
            return _SECRET.search(opened.read(_LOOKED_AT)) is not None
    except OSError:  # what we may not read is none of ours
        return False


def _told(file: Path) -> str:
    mode = stat.S_IMODE(file.stat().st_mode)
    return problem(
        file.absolute(),
        expected="a file of secrets that its owner alone may read, or a group",
        found=f"rights {mode:o}: every user of this machine may",
        remedy=f"chmod 600 {file.absolute()}  (640, where a group reads it), and change the secrets in it",
    )
