"""The lab's Alyx server as a resource: how far meso goes with it, and the connection.

What belongs here: the resource. User, password and token are read from the environment when a connection is made; they
are in no settings, so in no record of a run.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from meso_core.errors import SettingsError
from meso_core.qc import Limits, parse_limits

from ..runs.settings.settings import MesoSettings

if TYPE_CHECKING:
    from meso_core.alyx import Connection

OFF, DRY_RUN, ONLINE = "off", "dry-run", "online"


class Alyx(dg.ConfigurableResource[None]):
    """The Alyx server, as typed parameter of assets and sensors."""

    mode: str = Field(OFF, description="`off`, `dry-run` or `online`.")
    url: str = Field("", description="Address of the server.")
    repository: str = Field("", description="Data repository on which the files lie.")
    qc_limits: dict[str, dict[str, float]] = Field(default={}, description="Limits of verdicts, as in the settings.")

    @classmethod
    def open(cls, settings: MesoSettings) -> Alyx:
        """Make the resource from settings that were read before."""
        return cls(
            mode=settings.alyx, url=settings.alyx_url, repository=settings.alyx_repository, qc_limits=settings.qc_limits
        )

    @property
    def limits(self) -> Limits:
        """Limits of verdicts that differ from the usual ones."""
        return parse_limits(self.qc_limits)

    @property
    def is_off(self) -> bool:
        """Whether the server is never asked."""
        return self.mode == OFF

    @property
    def is_online(self) -> bool:
        """Whether records are sent."""
        return self.mode == ONLINE

    def connect(self, *, tries: int | None = None) -> Connection:
        """Connect as the user of the environment; the first request logs in.

        Parameters
        ----------
        tries
            How often a request is sent at most; where it is not given, as often as ``meso_core.alyx`` finds right.

        Raises
        ------
        SettingsError
            If address, user or password are missing.
        """
        from meso_core.alyx import connect

        if not self.url:
            raise SettingsError.at(
                "MESO_ALYX_URL",
                expected="the address of the server, as in https://alyx.example.org",
                found="nothing",
                remedy="Set it" if self.is_off else "Set it, or set MESO_ALYX to off",
            )
        user, password, token = (os.environ.get(f"ALYX_{name}", "") for name in ("USER", "PASSWORD", "TOKEN"))
        how: dict[str, Any] = {} if tries is None else {"tries": tries}
        return connect(self.url, user=user, password=password or None, token=token or None, **how)
