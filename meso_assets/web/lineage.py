"""The lineage of a session in the interface: a page that is made when it is asked for, and changes nothing.

What belongs here: answering for its address, behind the guard, and the links from it. What it tells is put together in
``runs.status.session_lineage``.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import dagster as dg
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from meso_core.errors import MesoError, told
from meso_core.report import SessionLineage, ShownResult, make_lineage_page

from ..defs.catalogue import RECORDS
from ..defs.reporting import REPORT, REPORT_FILE
from ..io.resources import Platform
from ..io.session_names import PARTITION_TAG, Registered
from ..overview.links import LINEAGE_PATH, OVERVIEW_PATH
from ..runs.settings.settings import MesoSettings
from ..runs.status.attempts import recent_failures
from ..runs.status.session_lineage import runs_that_are_known, session_lineage
from ..runs.status.status import names_of

_AUDIT = RECORDS["lineage_audit"].name
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # records of a session may hold anything: no script runs, and nobody is asked for anything
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'",
}


def lineage_routes(settings: MesoSettings, instance: dg.DagsterInstance) -> list[Route]:
    """Make the route of the page.

    Parameters
    ----------
    settings, instance
        Settings of the platform, and Dagster's records.
    """

    async def page(request: Request) -> Response:
        up = _up(request)
        try:
            content = await run_in_threadpool(lineage_page, settings, instance, request.path_params["key"], up)
        except MesoError as error:
            return PlainTextResponse(str(error), status_code=404)
        except OSError as error:
            return PlainTextResponse(f"The session cannot be looked at: {told(error)}", status_code=503)
        return Response(content, media_type="text/html", headers=_HEADERS)

    return [Route(f"{LINEAGE_PATH}/{{key:path}}", page)]


def _up(request: Request) -> str:
    """Way from the page to where the interface begins: relative, for a proxy may have put a prefix before it.

    By the address as the browser has it: a slash that it has encoded is none to it.
    """
    path = request.scope.get("raw_path", b"").decode("ascii", "replace") or quote(request.scope["path"])
    below = path.partition(f"{LINEAGE_PATH}/")[2]
    return "../" * (LINEAGE_PATH.count("/") + below.count("/"))


def lineage_page(settings: MesoSettings, instance: dg.DagsterInstance, key: str, up: str) -> bytes:
    """Make the page of a session.

    Parameters
    ----------
    settings, instance
        Settings of the platform, and Dagster's records.
    key
        Partition key, or any other name of the session.
    up
        Way from the page to where the interface begins.

    Raises
    ------
    MesoError
        If there is no such session, or it cannot be looked at.
    """
    platform = Platform.open(settings)
    session = platform.session(key, instance)
    name = names_of(settings, Registered.of(instance), [session.key])[session.key]
    found = session_lineage(platform, session, name, recent_failures(instance, name))
    known = runs_that_are_known(instance, {one.run.run_id for one in found.results if one.run is not None})
    results = [_linked(one, known, name, up) for one in found.results]
    return make_lineage_page(
        replace(found, results=results, audit_address=_asset(_AUDIT, name, up), links=_links(found, up))
    )


def _links(found: SessionLineage, up: str) -> dict[str, str]:
    name, links = found.session, {"Overview": f"{up}{OVERVIEW_PATH[1:]}"}
    report = next((one.lineage.manifest for one in found.results if one.name == REPORT), None)
    if report is not None and REPORT_FILE in {file.path for file in report.files}:
        links["Report"] = f"{up}{OVERVIEW_PATH[1:]}/files/{quote(name)}/-/{REPORT_FILE}"
    links["Runs"] = f"{up}runs?{quote('q[0]')}={quote(f'tag:{PARTITION_TAG}={name}', safe='')}"
    return links


def _linked(one: ShownResult, known: frozenset[str], name: str, up: str) -> ShownResult:
    run = one.run
    if run is not None and run.run_id in known:
        run = replace(run, address=f"{up}runs/{quote(run.run_id, safe='')}")
    return replace(one, run=run, address=_asset(one.name, name, up))


def _asset(asset: str, session: str, up: str) -> str:
    return f"{up}assets/{asset}?view=partitions&partition={quote(session, safe='')}"
