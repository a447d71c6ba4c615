"""Where settings come from: names of variables and of the file, and how a value that is refused is shown.

What belongs here: names alone. What settings there are is declared in ``settings``.
"""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Collection
from pathlib import Path

from meso_core.errors import MesoWarning, SettingsError

PREFIX = "MESO_"
#: Names the file of settings; without it, ``meso.toml`` of the working directory counts.
SETTINGS_FILE_VARIABLE = "MESO_SETTINGS"
#: Variables with our prefix that are no settings: of tests, benchmarks and continuous integration; secrets.
_NO_SETTINGS = (
    "MESO_ALYX_PROBE",
    "MESO_TEST_",
    "MESO_BENCH_",
    "MESO_PEER_PYTHON",
    "MESO_REAL_DATA",
    "MESO_CHROMIUM",
    "MESO_SFTP_",
    "MESO_NOTICES",
    "MESO_POSTGRES",
    "MESO_BROKER",
)


def variable_of(name: str) -> str:
    """Name of the variable that gives a setting."""
    return PREFIX + name.upper()


def warn_of_unknown_variables(names: Collection[str]) -> None:
    """Warn of variables that look like settings and are none, with the setting that was meant.

    Parameters
    ----------
    names
        Those of all settings.

    Warns
    -----
    MesoWarning
        For each.
    """
    known = {variable_of(name) for name in names}
    for name in sorted(os.environ):
        upper = name.upper()
        if upper.startswith(PREFIX) and upper not in known and not upper.startswith(_NO_SETTINGS):
            near = difflib.get_close_matches(upper, sorted(known), n=1)
            meant = f"did you mean {near[0]}?" if near else "README's table lists all"
            warnings.warn(f"{name} is no setting of meso and is ignored: {meant}", MesoWarning, stacklevel=4)


def settings_file() -> Path | None:
    """Find the file of settings.

    Raises
    ------
    SettingsError
        If ``MESO_SETTINGS`` names a file that is not there.
    """
    named = os.environ.get(SETTINGS_FILE_VARIABLE)
    if not named:
        default = Path("meso.toml")
        return default if default.is_file() else None
    if not Path(named).is_file():
        raise SettingsError.at(
            SETTINGS_FILE_VARIABLE, expected="a TOML file", found=f"no file {named}", remedy="Correct the path"
        )
    return Path(named)


def shown_value(value: object) -> str:
    """Show a value that is refused, but for a secret in it."""
    if not isinstance(value, str) or "@" not in value:
        return repr(value)
    if "://" not in value:
        return repr(f"…@{value.rpartition('@')[2]}")
    from meso_core.storage.urls import shown  # as above

    return repr(shown(value))
