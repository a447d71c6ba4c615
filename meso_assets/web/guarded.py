"""Dagster's web server with the guard in front.

What belongs here: the one place where Dagster's server is told of it.
"""

from __future__ import annotations

from dagster_webserver import app
from dagster_webserver.webserver import DagsterWebserver
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from ..runs.settings.settings import current_settings
from .guard import LOOPBACK, OwnPagesOnly
from .routes import meso_routes


class GuardedWebserver(DagsterWebserver):  # type: ignore[type-arg]  # of Dagster
    """Puts the guard before all other middleware, for requests and websockets, and pages of meso beside its own."""

    def build_middleware(self) -> list[Middleware]:
        """List the middleware, outermost first."""
        hosts = LOOPBACK | set(current_settings().ui_host_names)
        return [Middleware(OwnPagesOnly, hosts=hosts), *super().build_middleware()]

    def build_routes(self) -> list[BaseRoute]:
        """List the pages: those of meso, then Dagster's own, the last of which answers for every path."""
        settings, instance = current_settings(), self._process_context.instance
        own = meso_routes(settings, instance, self._app_path_prefix)
        return [*own, *super().build_routes()]  # type: ignore[no-untyped-call]  # of Dagster


def guard_webserver() -> None:
    """Let the program ``dagster-webserver`` of this process make guarded servers."""
    app.DagsterWebserver = GuardedWebserver  # type: ignore[attr-defined]  # which it imports for itself
