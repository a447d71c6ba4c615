"""The Dagster instance of meso: its configuration, and its home folder, found or made.

What belongs here: where Dagster keeps its records and with which limits. ``dagster.yaml`` beside this file is the one
configuration; it is copied into the home when that is made, and a lab may edit the copy.
"""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg

from meso_core.errors import StorageError, problem

from ...defs.dagster_internals import set_pool_size
from ..settings import MesoSettings

#: Steps that run suite2p share this pool: as many at a time as cores and memory allow.
SUITE2P_POOL = "suite2p"

CONFIGURATION = Path(__file__).with_name("dagster.yaml")


def prepare_home(settings: MesoSettings) -> Path:
    """Find or make the folder of Dagster's records, and tell Dagster where it is.

    Returns
    -------
    pathlib.Path
        The folder; ``DAGSTER_HOME`` of this process and its children points to it.

    Raises
    ------
    StorageError
        If the folder cannot be made or written.
    """
    home = settings.dagster_home
    target = home / "dagster.yaml"
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.write_bytes(CONFIGURATION.read_bytes())
    except OSError as error:
        raise StorageError(
            problem(
                home,
                expected="a folder for Dagster's records, or a place to make it",
                found=str(error),
                remedy="Set MESO_HOME (or DAGSTER_HOME) to a folder that you may write",
            )
        ) from error
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def open_instance(settings: MesoSettings) -> dg.DagsterInstance:
    """Open the instance of the settings' home, with the suite2p pool sized to this machine."""
    instance = dg.DagsterInstance.from_config(str(prepare_home(settings)))
    set_pool_size(instance, SUITE2P_POOL, settings.parallel_fovs)
    return instance
