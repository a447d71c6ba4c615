"""Dagster's web server with the guard in front.

What belongs here: the one place where Dagster's server is told of it.
"""

from __future__ import annotations

from dagster_webserver import app
from dagster_webserver.webserver import DagsterWebserver
from starlette.middleware import Middleware

from ..runs.settings import current_settings
from .guard import LOOPBACK, OwnPagesOnly


class GuardedWebserver(DagsterWebserver):  # type: ignore[type-arg]  # of Dagster
    """Puts the guard before all other middleware, for requests and websockets."""

    def build_middleware(self) -> list[Middleware]:
        """List the middleware, outermost first."""
        hosts = LOOPBACK | set(current_settings().ui_host_names)
        return [Middleware(OwnPagesOnly, hosts=hosts), *super().build_middleware()]


def guard_webserver() -> None:
    """Let the program ``dagster-webserver`` of this process make guarded servers."""
    app.DagsterWebserver = GuardedWebserver  # type: ignore[attr-defined]  # which it imports for itself
