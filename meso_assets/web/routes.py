"""Where the pages of meso are in the interface: below its prefix, and from wherever a link to them starts.

What belongs here: addresses. What the pages hold is in ``overview`` and ``lineage``.
"""

from __future__ import annotations

import os
from urllib.parse import quote

import dagster as dg
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ..overview.links import OVERVIEW_PATH
from ..runs.settings.settings import MesoSettings
from .lineage import lineage_routes
from .overview import overview_routes

#: As Dagster's web server reads its option ``--path-prefix`` from the environment.
PREFIX_VARIABLE = "DAGSTER_WEBSERVER_PATH_PREFIX"


def path_prefix() -> str:
    """Prefix below which the interface that is started here answers, as in ``/imaging``; empty where it has none."""
    return os.environ.get(PREFIX_VARIABLE, "")


def meso_routes(settings: MesoSettings, instance: dg.DagsterInstance, prefix: str) -> list[Route]:
    """List the pages, to stand before those of Dagster.

    Parameters
    ----------
    settings, instance
        Settings of the platform, and Dagster's records.
    prefix
        What stands before every path of the web server; empty where nothing does.
    """

    async def lead(request: Request) -> Response:
        return RedirectResponse(_from_there(request, prefix))

    own = [*overview_routes(settings, instance), *lineage_routes(settings, instance)]
    anywhere = f"{prefix}/{{above:path}}{OVERVIEW_PATH}"
    return [
        *(Route(f"{prefix}{one.path}", one.endpoint) for one in own),
        Route(anywhere, lead),
        Route(f"{anywhere}/{{below:path}}", lead),
    ]


def _from_there(request: Request, prefix: str) -> str:
    """Way to a page of meso from where a link of Dagster's pages led.

    Records name a page by a relative address, for they last and a prefix may change. Dagster's pages are one or more
    levels deep, and a browser begins at theirs. The way is relative too: by the address as the browser has it, in which
    a slash that is encoded is none.
    """
    path = request.scope.get("raw_path", b"").decode("ascii", "replace") or quote(request.scope["path"])
    above, _, below = path.removeprefix(quote(prefix)).rpartition(OVERVIEW_PATH)
    page = f"{OVERVIEW_PATH}{below}"
    return "../" * (f"{above}{page}".count("/") - 1) + page[1:]
